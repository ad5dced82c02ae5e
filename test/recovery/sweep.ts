/**
 * Runs one sweep: `node dist/test/recovery/sweep.js NAME [SEED [STRIDE]]`, with a name of `SWEEPS`.
 * Prints the counts as JSON, or the error. The same seed does the same. With a stride, one of that
 * number of calls is tried.
 *
 * A built sweep takes a third of the time that it takes among the tests, which load from source.
 */

import { timers } from '../../src/scheduling/time.ts'
import { runSweep } from './sweeps.ts'

const [name = '', seed = '1', stride = '1'] = process.argv.slice(2)

// Timers stand still, so that each run is the same: the workload asks for what they would do.
const standing = { ref: () => standing, unref: () => standing }
Object.assign(timers, {
  setTimeout: () => standing,
  setInterval: () => standing,
  clearTimeout: () => undefined,
  clearInterval: () => undefined,
})

process.stdout.write(`${JSON.stringify(await runSweep(name, Number(seed), Number(stride)))}\n`)
