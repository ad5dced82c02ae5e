/** Starts a writer's process, listens to its reports, and kills it. */

import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { Order, Report } from './order.ts'

/** The end of a writer's process. */
export interface End {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Its output to standard error. */
  readonly complaint: string
  /** Whether it was killed because it hung. */
  readonly timedOut: boolean
}

/** The most ticks of a process: seconds, without those in which the whole machine stands still. */
const MOST_TICKS = 60
const TICK_MS = 1000

/** A writer's process, which has been started and waits for its order. */
export class Child {
  /** Resolves when the process has ended and all its reports have been heard. */
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

  /** Whether the process has ended. */
  get hasEnded(): boolean {
    return this.#ended
  }

  /** Sends the order, and calls `hear` with each whole report. */
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
    // A process that has ended cannot take an order; `ended` says why it ended.
    this.#orders.on('error', () => undefined)
    this.#orders.end(JSON.stringify(order))
  }

  kill(): void {
    this.#process.kill('SIGKILL')
  }
}
