#!/usr/bin/env node
import { Interrupted } from './failure.ts'
import { main } from './program.ts'

const interrupt = new AbortController()
// A second Ctrl-C ends the process at once: a store survives that.
process.once('SIGINT', () => interrupt.abort(new Interrupted()))

process.exitCode = await main(process.argv.slice(2), {
  input: process.stdin,
  output: process.stdout,
  error: process.stderr,
  environment: process.env,
  interrupt: interrupt.signal,
})
