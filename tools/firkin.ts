#!/usr/bin/env node
import { Interrupted } from './failure.ts'
import { main } from './program.ts'

const interrupt = new AbortController()
// The second time the process ends at once: a store survives that.
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
