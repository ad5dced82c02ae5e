/** The command `firkin export`: writes the entries of a range as text. */

import { createWriteStream, existsSync, realpathSync, renameSync, statSync } from 'node:fs'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate } from 'node:timers/promises'
import { createGzip } from 'node:zlib'
import { Command } from 'commander'
import { StoreError } from '../../src/errors.ts'
import { discard, errorCode, systemFiles } from '../../src/io/files.ts'
import type { Entry, EntryFormat } from '../entry.ts'
import { chooseFormat, type FormatOptions, withFormat } from '../entry-format.ts'
import { withExamples } from '../examples.ts'
import { OutputClosed, UsageError } from '../failure.ts'
import { type KeyRangeOptions, rangeOf, withRange } from '../key-range.ts'
import type { Call, Session } from '../session.ts'
import { type ByteStore, openToRead } from '../store.ts'
import { countOf } from '../text.ts'

interface ExportOptions extends FormatOptions, KeyRangeOptions {
  readonly output?: string
  readonly force?: boolean
}

/** The size, and the most entries, of a block that is encoded at once. */
const BLOCK_SIZE = 64 * 1024
const BLOCK_ENTRIES = 1000
/** The suffix of the file until it is whole. */
const PARTIAL_SUFFIX = '.part'

/** Makes the command `export`. */
export function exportCommand(session: Session): Command {
  const command = withFormat(
    withRange(
      new Command('export')
        .description('write entries in key order, as newline-delimited JSON or CSV')
        .argument('<directory>', 'the directory of the store')
        .option(
          '-o, --output <file>',
          'a file instead of standard output; it appears once it is complete',
        )
        .option('--force', 'replace the file if it exists')
        .option('--hex', 'bounds as hexadecimal digits'),
    ),
  )
    .addHelpText(
      'after',
      '\nA terminal gets what would act on it escaped; files and pipes get every byte.',
    )
    .action(session.action<[directory: string], ExportOptions>(exportEntries))
  return withExamples(
    command,
    'firkin export ./data > data.ndjson',
    'firkin export ./data --output data.csv.gz --key id --value name',
    'firkin export ./data --prefix user: | jq -c .value',
  )
}

async function exportEntries(call: Call<ExportOptions>, directory: string): Promise<void> {
  const { options, output, terminal } = call
  const { output: file } = options
  const range = rangeOf(options)
  const { format, gzip } = chooseFormat(options, file)
  const target = file === undefined ? undefined : findTarget(file, options.force === true)
  const forPerson = file === undefined && output.isTerminal
  if (forPerson && gzip) {
    throw new UsageError('What is compressed is not for a terminal: use --output, or a pipe')
  }
  await using store = await openToRead(directory, output)
  const source = new EntrySource(call, store, format, forPerson)
  call.summarise(() =>
    file === undefined
      ? `${countOf(source.count, 'entry', 'entries')} had been written`
      : `${file} was not written`,
  )
  const blocks = source.blocks(range)
  if (target !== undefined) await writeFile(target, blocks, gzip, call.interrupt)
  else {
    try {
      await write(blocks, gzip, terminal.output, false, call.interrupt)
    } catch (error) {
      if (isGone(error)) throw new OutputClosed()
      if (errorCode(error)?.startsWith('E') !== true) throw error
      throw new Error('Cannot write to standard output', { cause: error })
    }
  }
  output.note(`Exported ${countOf(source.count, 'entry', 'entries')}${file ? ` to ${file}` : ''}`)
}

/** The entries of a range as blocks of text. */
class EntrySource {
  /** The number of entries handed over so far. */
  count = 0
  readonly #call: Call
  readonly #store: ByteStore
  readonly #format: EntryFormat
  readonly #forPerson: boolean

  /** @param forPerson whether the text goes to a terminal */
  constructor(call: Call, store: ByteStore, format: EntryFormat, forPerson: boolean) {
    this.#call = call
    this.#store = store
    this.#format = format
    this.#forPerson = forPerson
  }

  async *blocks(range: ReturnType<typeof rangeOf>): AsyncGenerator<string> {
    const { interrupt, output } = this.#call
    using progress = output.progress('export', 'records')
    const total = progress.isShown ? this.#store.count(range) : 0
    yield this.#shown(this.#format.head)
    let block: Entry[] = []
    let size = 0
    for (const [key, value] of this.#store.entries(range)) {
      const expiresAt = this.#store.expiresAt(key)
      // It has expired since the export began.
      if (expiresAt === undefined) continue
      block.push({ key, value, expiresAt })
      size += key.length + value.length
      if (size < BLOCK_SIZE && block.length < BLOCK_ENTRIES) continue
      yield this.#take(block)
      block = []
      size = 0
      progress.update(this.count, total)
      await setImmediate()
      interrupt.throwIfAborted()
    }
    yield this.#take(block)
  }

  #take(block: readonly Entry[]): string {
    this.count += block.length
    return this.#shown(this.#format.encode(block))
  }

  #shown(text: string): string {
    return this.#forPerson ? this.#format.show(text) : text
  }
}

async function write(
  blocks: AsyncIterable<string>,
  gzip: boolean,
  target: Writable,
  end: boolean,
  signal: AbortSignal,
): Promise<void> {
  const source = Readable.from(blocks, { objectMode: false })
  if (gzip) await pipeline(source, createGzip(), target, { end, signal })
  else await pipeline(source, target, { end, signal })
}

/** The file that an export writes. */
interface Target {
  /** The path as the user gave it. */
  readonly name: string
  /** The path without symbolic links. */
  readonly path: string
  /** Whether it is a device or a pipe, which is written to and not replaced. */
  readonly isDevice: boolean
}

/** Finds out what is at a path. @throws Error if it must not be replaced */
function findTarget(name: string, force: boolean): Target {
  if (!existsSync(name)) return { name, path: name, isDevice: false }
  const path = realpathSync(name)
  const stats = statSync(path)
  if (stats.isDirectory()) throw new Error(`${name}: it is a directory`)
  if (stats.isFile() && !force) throw new Error(`${name} exists; --force replaces it`)
  return { name, path, isDevice: !stats.isFile() }
}

/** Writes a file that appears once it is whole. If that fails, nothing is left of it. */
async function writeFile(
  { name, path, isDevice }: Target,
  blocks: AsyncIterable<string>,
  gzip: boolean,
  signal: AbortSignal,
): Promise<void> {
  const partial = isDevice ? path : path + PARTIAL_SUFFIX
  try {
    const stream = createWriteStream(partial, isDevice ? { flags: 'r+' } : { flush: true })
    await write(blocks, gzip, stream, true, signal)
    if (!isDevice) renameSync(partial, path)
  } catch (error) {
    if (!isDevice) discard(systemFiles, partial)
    // Errors of the store or of an entry have a message of their own.
    if (error instanceof StoreError || errorCode(error) === undefined) throw error
    throw new Error(`Cannot write ${name}`, { cause: error })
  }
}

function isGone(error: unknown): boolean {
  return ['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED'].includes(
    errorCode(error) ?? '',
  )
}
