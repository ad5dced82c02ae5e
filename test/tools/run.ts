import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { main } from '../../tools/program.ts'
import type { Sink } from '../../tools/terminal.ts'

/** The built tool. */
export const BINARY = join(import.meta.dirname, '../../dist/package/firkin.js')

/** The outcome of a run of the tool. */
export interface Run {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** The surroundings of a run of the tool. */
export interface Surroundings {
  readonly input?: string | Uint8Array | Readable
  /** The width of the terminal; without it, no stream is a terminal. */
  readonly columns?: number
  /** Whether standard output is a terminal too, and not only standard error. @defaultValue true */
  readonly outputIsTerminal?: boolean
  readonly environment?: Record<string, string>
  readonly interrupt?: AbortSignal
  readonly output?: Sink
}

/** A stream that keeps the text written to it. */
export class Memory extends Writable {
  readonly isTTY: boolean
  readonly columns?: number
  readonly #chunks: Buffer[] = []

  constructor(columns: number | undefined) {
    super()
    this.isTTY = columns !== undefined
    if (columns !== undefined) this.columns = columns
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  get text(): string {
    return this.bytes.toString('utf8')
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#chunks.push(chunk)
    done()
  }
}

/** Runs the tool in this process. */
export async function run(argv: readonly string[], around: Surroundings = {}): Promise<Run> {
  const { columns, input = '', environment = {}, outputIsTerminal = true } = around
  const output = new Memory(outputIsTerminal ? columns : undefined)
  const error = new Memory(columns)
  const status = await main(argv, {
    input: input instanceof Readable ? input : Readable.from([Buffer.from(input)]),
    output: around.output ?? output,
    error,
    environment,
    interrupt: around.interrupt ?? new AbortController().signal,
  })
  return { status, stdout: output.text, stderr: error.text }
}

/** Runs the built tool, in a process of its own. */
export async function runBinary(
  argv: readonly string[],
  { input = '', signal, killAfter }: BinarySurroundings = {},
): Promise<Run & { readonly bytes: Buffer }> {
  const child = spawn(process.execPath, [BINARY, ...argv], { stdio: 'pipe' })
  const output: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output.push(chunk)
    const seen = Buffer.concat(output).toString('utf8')
    if (killAfter !== undefined && seen.includes(killAfter)) child.kill(signal)
  })
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk)
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const status = await new Promise<number>((resolve) => {
    child.on('close', (code) => resolve(code ?? -1))
  })
  const bytes = Buffer.concat(output)
  return { status, stdout: bytes.toString('utf8'), stderr, bytes }
}

/** The surroundings of a run of the binary. */
export interface BinarySurroundings {
  readonly input?: string | Uint8Array
  /** Sent once standard output has `killAfter`. */
  readonly signal?: NodeJS.Signals
  readonly killAfter?: string
}

/** Returns the lines of a text, without the end of the last line. */
export function linesOf(text: string): string[] {
  return text.replace(/\n$/, '').split('\n')
}
