/**
 * One sweep, as a program: `node dist/test/recovery/sweep.js NAME [SEED [STRIDE]]`, with a name of `SWEEPS`. Prints
 * what was tried, as JSON, or what went wrong. The same seed does the same; with a stride it tries one of so many calls.
 *
 * Built and by itself a sweep takes a third of the time that it takes among the tests, which load from source.
 */

import { timers } from '../../src/scheduling/time.ts'
import { runSweep } from './sweeps.ts'

const [name = '', seed = '1', stride = '1'] = process.argv.slice(2)

// Timers stand still: what they would do is asked for, and so each run is the same.
const standing = { ref: () => standing, unref: () => standing }
Object.assign(timers, {
  setTimeout: () => standing,
  setInterval: () => standing,
  clearTimeout: () => undefined,
  clearInterval: () => undefined,
})

process.stdout.write(`${JSON.stringify(await runSweep(name, Number(seed), Number(stride)))}\n`)
