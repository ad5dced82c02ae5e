/**
 * Everything that the tool prints. Standard output takes the requested data. Standard error takes
 * notes, progress and errors, so that a pipe never carries them.
 */

import { setImmediate } from 'node:timers/promises'
import pc from 'picocolors'
import { isError } from '../src/errors.ts'
import { errorCode } from '../src/io/files.ts'
import { describeFailure, OutputClosed, type Status } from './failure.ts'
import { Progress } from './progress.ts'
import { type Column, layOut, wrap } from './table.ts'
import { mayColor, type Sink, type Terminal, widthOf } from './terminal.ts'
import { formatSize, showJson, showText } from './text.ts'

/** The options for printing. */
export interface OutputOptions {
  /** JSON instead of text: one object, or one per line for streams. */
  readonly json?: boolean
  /** No notes and no progress. */
  readonly quiet?: boolean
  readonly color?: boolean
  /** Sizes as exact numbers of bytes. */
  readonly bytes?: boolean
  /** The stacks of errors. */
  readonly debug?: boolean
}

/** The size up to which text is collected before it is written. */
const CHUNK_SIZE = 64 * 1024

/** The least width to which a value is wrapped. */
const MIN_VALUE_WIDTH = 20

/** Prints data, notes and errors. */
export class Output {
  /** Whether JSON is printed instead of text. */
  readonly isJson: boolean
  readonly #terminal: Terminal
  readonly #options: OutputOptions
  readonly #outColors: ReturnType<typeof pc.createColors>
  readonly #errorColors: ReturnType<typeof pc.createColors>
  #text = ''

  constructor(terminal: Terminal, options: OutputOptions) {
    this.#terminal = terminal
    this.#options = options
    this.isJson = options.json === true
    const wanted = options.color !== false
    const { output, error, environment } = terminal
    this.#outColors = pc.createColors(wanted && mayColor(output, environment))
    this.#errorColors = pc.createColors(wanted && mayColor(error, environment))
  }

  /** Whether standard output is a terminal. */
  get isTerminal(): boolean {
    return this.#terminal.output.isTTY === true
  }

  /**
   * Adds to standard output. The text is written when there is enough of it, and other work gets
   * its turn then; `flush` writes the rest.
   *
   * @throws OutputClosed if nobody reads any more
   */
  async write(piece: string | Uint8Array): Promise<void> {
    if (typeof piece === 'string') {
      this.#text += piece
      if (this.#text.length >= CHUNK_SIZE) await this.flush()
    } else {
      await this.flush()
      await send(this.#terminal.output, piece)
    }
  }

  /** Adds a line to standard output. */
  async line(text: string): Promise<void> {
    await this.write(`${text}\n`)
  }

  /** Adds an object to standard output, as a line of JSON. */
  async json(value: unknown): Promise<void> {
    const json = JSON.stringify(value, errorsAsText)
    await this.line(this.isTerminal ? showJson(json) : json)
  }

  /** Adds a table to standard output, no wider than the terminal. */
  async table(columns: readonly Column[], rows: readonly (readonly string[])[]): Promise<void> {
    const lines = layOut(columns, rows, this.#width, this.#outColors.bold)
    for (const line of lines) await this.line(line)
  }

  /**
   * Adds names and their values to standard output, one per line if the terminal is wide enough.
   */
  async list(entries: readonly (readonly [name: string, value: string])[]): Promise<void> {
    const indent = Math.max(...entries.map(([name]) => name.length)) + 2
    const width = Math.max(MIN_VALUE_WIDTH, this.#width - indent)
    for (const [name, value] of entries) {
      const [first = '', ...more] = wrap(value, width)
      await this.line(this.#outColors.bold(name.padEnd(indent)) + first)
      for (const line of more) await this.line(' '.repeat(indent) + line)
    }
  }

  /** Writes all text that was added to standard output. */
  async flush(): Promise<void> {
    const text = this.#text
    this.#text = ''
    if (text !== '') await send(this.#terminal.output, text)
    await setImmediate()
  }

  /** Prints a note on standard error, unless `quiet`. */
  note(text: string): void {
    if (this.#options.quiet !== true) this.#say(showText(text))
  }

  /** Prints a warning on standard error. */
  warn(text: string): void {
    this.#say(`${this.#errorColors.yellow('warning:')} ${showText(text)}`)
  }

  /** Prints on standard error why the tool ends. Returns the exit status. */
  fail(error: unknown): Status {
    const { message, status } = describeFailure(error)
    if (message === '') return status
    this.#say(`${this.#errorColors.red('firkin:')} ${showText(message)}`)
    if (this.#options.debug === true) {
      for (const line of stackOf(error).split('\n')) this.#say(showText(line))
    }
    return status
  }

  /** Formats a size. */
  size(bytes: number): string {
    return formatSize(bytes, this.#options.bytes === true)
  }

  /** Shows the progress of work on standard error, if that is a terminal. */
  progress(label: string, unit: 'bytes' | 'records'): Progress {
    const { error } = this.#terminal
    const shown = error.isTTY === true && this.#options.quiet !== true && !this.isJson
    return new Progress(shown ? error : undefined, label, (amount) =>
      unit === 'bytes' ? this.size(amount) : amount.toLocaleString('en-GB'),
    )
  }

  /** Colours words green if all is well, and red if not. */
  verdict(fine: boolean, words: string): string {
    return (fine ? this.#outColors.green : this.#outColors.red)(showText(words))
  }

  /** The most characters of a line. */
  get #width(): number {
    return widthOf(this.#terminal.output)
  }

  #say(text: string): void {
    this.#terminal.error.write(`${text}\n`)
  }
}

async function send(sink: Sink, piece: string | Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    if (sink.destroyed || sink.writableEnded) reject(new OutputClosed())
    else sink.write(piece, (error) => (error == null ? resolve() : reject(asClosed(error))))
  })
}

function asClosed(error: Error): Error {
  const closed = ['EPIPE', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END']
  if (closed.includes(errorCode(error) ?? '')) return new OutputClosed()
  return new Error('Cannot write to standard output', { cause: error })
}

function stackOf(error: unknown): string {
  if (!isError(error)) return String(error)
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`
  return (error.stack ?? error.message) + cause
}

/** Replaces an error by its message. */
function errorsAsText(_: string, value: unknown): unknown {
  return isError(value) ? value.message : value
}
