#!/usr/bin/env node
/** The executable `firkin`: runs the tool with the streams and the signals of the process. */

import { Interrupted } from './failure.ts'
import { main } from './program.ts'

const interrupt = new AbortController()
// A second signal ends the process at once; a store survives that.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => interrupt.abort(new Interrupted()))
}

process.exitCode = await main(process.argv.slice(2), {
  input: process.stdin,
  output: process.stdout,
  error: process.stderr,
  environment: process.env,
  interrupt: interrupt.signal,
})
