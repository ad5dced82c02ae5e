/** The workload `small-segments`. */

import { KIB, MIB, type Workload } from '../workload.ts'
import { overwrite } from './overwrites.ts'

export const smallSegments: Workload = {
  name: 'small-segments',
  about: 'overwrites of 1 KiB at full speed, in segments of 1 MiB',
  mostAmplification: 3,
  sparedBytes: 64 * MIB,
  run: (load) =>
    overwrite(load, {
      options: { maxSegmentBytes: MIB },
      keys: 20_000,
      valueBytes: KIB,
      atOnce: 64,
    }),
}
