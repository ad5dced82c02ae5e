/** Another process that opens a store. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import type { StoreSettings } from '../../src/index.ts'

const built = new URL('../../dist/src/index.js', import.meta.url).href

/** The program of a peer: it opens, writes and closes a store by orders, one in a line. */
const CODE = `
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { open } from ${JSON.stringify(built)}
createRequire(${JSON.stringify(built)})('fs-native-extensions')
let store
const acts = {
  become: (id) => { process.setgid(id); process.setuid(id) },
  open: async (directory, options) => { store = await open(directory, { valueEncoding: 'utf8', ...options }) },
  put: (key, value) => store.put(key, value),
  batch: (operations) => store.batch(operations).commit(),
  get: (key) => store.get(key),
  merge: () => store.merge(),
  close: () => store.close(),
}
for await (const line of createInterface({ input: process.stdin })) {
  const [act, ...args] = JSON.parse(line)
  let answer
  try {
    answer = { value: await acts[act](...args) ?? null }
  } catch ({ code, message }) {
    answer = { code, message }
  }
  console.log(JSON.stringify(act === 'open' ? { code: answer.code, message: answer.message } : answer))
}
`

/** A peer's answer: the result, or the error. */
export interface Answer {
  readonly value?: unknown
  readonly code?: string
  readonly message?: string
}

/** A process that opens a store by the build. */
export class Peer {
  readonly #process: ChildProcess
  readonly #answers: AsyncIterator<string>
  readonly #lines: Interface

  /** @param before a command that starts the process, with its arguments */
  constructor(before: readonly string[] = []) {
    const [command = '', ...args] = [...before, process.execPath, '--input-type=module', '-e', CODE]
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const { stdout } = this.#process
    if (stdout === null) throw new Error('A process was started without its pipes')
    this.#lines = createInterface({ input: stdout })
    this.#answers = this.#lines[Symbol.asyncIterator]()
  }

  get pid(): number | undefined {
    return this.#process.pid
  }

  /** Sends an order, and returns the answer. */
  async ask(act: string, ...args: unknown[]): Promise<Answer> {
    this.#process.stdin?.write(`${JSON.stringify([act, ...args])}\n`)
    const { value, done } = await this.#answers.next()
    if (done === true) throw new Error('The process has ended')
    return JSON.parse(value)
  }

  async open(directory: string, options: StoreSettings<string> = {}): Promise<Answer> {
    return await this.ask('open', directory, options)
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    this.#process.kill('SIGKILL')
    await once(this.#process, 'exit')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}
