/** The workload `large-segments`. */

import { KIB, MIB, type Workload } from '../workload.ts'
import { overwrite } from './overwrites.ts'

export const largeSegments: Workload = {
  name: 'large-segments',
  about: 'overwrites of 16 KiB at full speed, with the default options',
  mostAmplification: 3,
  sparedBytes: 1024 * MIB,
  run: (load) => overwrite(load, { options: {}, keys: 8000, valueBytes: 16 * KIB, atOnce: 16 }),
}
