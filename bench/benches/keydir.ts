/** Runs bench/keydir.js. */

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { Bench } from '../bench.ts'
import { BENCH_DIRECTORY } from '../peers.ts'
import type { Report } from '../report.ts'

/** The kinds of keydir alone, without a store. */
export const keydir: Bench = {
  name: 'keydir',
  about:
    'the kinds of keydir alone: time an operation, memory a key, longest insert (bench/keydir.js)',
  heavy: true,
  async run({ keys }): Promise<Report> {
    const script = join(BENCH_DIRECTORY, 'keydir.js')
    const { status } = spawnSync(process.execPath, [script, '--keys', String(keys)], {
      stdio: 'inherit',
    })
    if (status !== 0) throw new Error(`bench/keydir.js ended with status ${status}`)
    return { measures: [], targets: [], notes: ['It prints a table of its own, above.'] }
  },
}
