import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { Order, Report } from './order.ts'

/** How a writer came to its end. */
export interface End {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** What it wrote to standard error. */
  readonly complaint: string
  /** Whether it had to be ended because it did not end. */
  readonly timedOut: boolean
}

/** A process is killed whatever it does after so many ticks: seconds, but for those in which all stands still. */
const MOST_TICKS = 60
const TICK_MS = 1000

/** A writer's process; it has been started, and waits for its order. */
export class Child {
  /** Resolves when the process is gone and all that it has said was heard. */
  readonly ended: Promise<End>
  readonly #process: ChildProcess
  readonly #reports: Readable
  readonly #orders: Writable
  #rest = ''
  #timedOut = false
  #ended = false

  /** @param path the built `writer.js` */
  constructor(path: string, mapping: boolean) {
    const { FIRKIN_MMAP: _, ...env } = process.env
    this.#process = spawn(process.execPath, [path], {
      stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
      env: mapping ? env : { ...env, FIRKIN_MMAP: 'off' },
    })
    const { stdin, stderr } = this.#process
    const reports = this.#process.stdio[3]
    if (stdin === null || stderr === null || reports === null || reports === undefined) {
      throw new Error('A process was started without its pipes')
    }
    this.#orders = stdin
    this.#reports = reports as Readable
    const complaint = text(stderr)
    this.ended = new Promise((resolve, reject) => {
      this.#process.once('error', reject)
      this.#process.once('close', (code, signal) => {
        this.#ended = true
        complaint.then(
          (complaint) => resolve({ code, signal, complaint, timedOut: this.#timedOut }),
          reject,
        )
      })
    })
  }

  /** Whether it is gone. */
  get hasEnded(): boolean {
    return this.#ended
  }

  /** Lets it begin; every report that is whole is told. */
  begin(order: Order, hear: (report: Report) => void): void {
    let ticks = 0
    const watch = setInterval(() => {
      if (++ticks < MOST_TICKS) return
      this.#timedOut = true
      this.kill()
    }, TICK_MS)
    this.ended.finally(() => clearInterval(watch)).catch(() => undefined)
    this.#reports.setEncoding('utf8')
    this.#reports.on('data', (chunk: string) => {
      const lines = (this.#rest + chunk).split('\n')
      this.#rest = lines.pop() ?? ''
      for (const line of lines) hear(JSON.parse(line))
    })
    // One that has ended already does not listen; why it has ended is told by its end.
    this.#orders.on('error', () => undefined)
    this.#orders.end(JSON.stringify(order))
  }

  kill(): void {
    this.#process.kill('SIGKILL')
  }
}
