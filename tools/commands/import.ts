/** The command `firkin import`: puts entries that are read as text. */

import { createReadStream, statSync } from 'node:fs'
import { pipeline, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { Command } from 'commander'
import { isError } from '../../src/errors.ts'
import { checksum } from '../../src/format/checksum.ts'
import { errorCode } from '../../src/io/files.ts'
import type { WriteBatch } from '../../src/store/batch.ts'
import { withoutByteOrderMark } from '../byte-order-mark.ts'
import type { Entry } from '../entry.ts'
import { chooseFormat, type FormatOptions, withFormat } from '../entry-format.ts'
import { withExamples } from '../examples.ts'
import { IMPORT_START, type ImportPosition, ImportProgress } from '../import-progress.ts'
import type { Call, Session } from '../session.ts'
import { type ByteStore, openToWrite, WAIT_OPTION, type WaitOptions } from '../store.ts'
import { countOf, formatCount, parseCount } from '../text.ts'

interface ImportOptions extends FormatOptions, WaitOptions {
  readonly batch: string
  readonly resume?: boolean
}

/** The size at which a batch is committed, however few records it has. */
const MAX_BATCH_SIZE = 8 * 1024 * 1024

/** Makes the command `import`. */
export function importCommand(session: Session): Command {
  const command = withFormat(
    new Command('import')
      .description('put entries written by export, or rows of any CSV; creates the store')
      .argument('<directory>', 'the directory of the store')
      .argument('[file]', 'the file; standard input where it is missing or `-`')
      .option('--batch <records>', 'how many records to put at once, all or nothing', '10000')
      .option('--resume', 'continue an interrupted import of the same input')
      .option(...WAIT_OPTION),
  ).action(
    session.action<[directory: string, file: string | undefined], ImportOptions>(importEntries),
  )
  return withExamples(
    command,
    'firkin import ./data data.ndjson',
    'firkin import ./data people.csv --key id --value name',
    'zcat data.ndjson.gz | firkin import ./data --resume',
  )
}

async function importEntries(
  call: Call<ImportOptions>,
  directory: string,
  file: string | undefined,
): Promise<void> {
  const { options, output } = call
  const batchCount = parseCount(options.batch, 1)
  const { format, gzip } = chooseFormat(options, file)
  using input = new Input(call, file === '-' ? undefined : file)
  call.summarise(() => 'Nothing was imported')
  await using store = await openToWrite(directory, call, { create: true, durable: true })
  const loader = new Loader(store, batchCount, options.resume === true)
  call.summarise(() => loader.summary)
  using progress = output.progress('import', 'bytes')
  try {
    for await (const entry of format.decode(withoutByteOrderMark(input.read(gzip)))) {
      await loader.add(entry)
      progress.update(input.bytesRead, input.size, countOf(loader.position.records, 'record'))
    }
    await loader.finish()
  } catch (error) {
    if (!call.interrupt.aborted) output.note(loader.summary)
    throw error
  }
  progress.end()
  const { records } = loader.position
  if (output.isJson) await output.json({ records, skipped: loader.skipped })
  else output.note(`Imported ${countOf(records - loader.skipped, 'record')}`)
}

/** The file or stream that entries are read from. */
class Input {
  bytesRead = 0
  /** The size of the file; 0 if it is not known. */
  readonly size: number
  readonly #stream: Readable
  readonly #interrupt: AbortSignal
  readonly #stop = (): void => {
    this.#stream.destroy(this.#interrupt.reason)
  }

  constructor({ terminal }: Call, file: string | undefined) {
    const stats = file === undefined ? undefined : statSync(file)
    if (stats?.isDirectory() === true) throw new Error(`${file}: it is a directory`)
    this.size = stats?.isFile() === true ? stats.size : 0
    this.#stream = file === undefined ? terminal.input : createReadStream(file)
    // If it fails before anybody reads, the first read reports it.
    this.#stream.on('error', () => undefined)
    this.#interrupt = terminal.interrupt
    if (this.#interrupt.aborted) this.#stop()
    this.#interrupt.addEventListener('abort', this.#stop, { once: true })
  }

  async *read(gzip: boolean): AsyncGenerator<Buffer> {
    const counted = this.#count()
    if (!gzip) {
      yield* counted
      return
    }
    // If anything fails in the pipeline, the iteration over its last stream throws it.
    const unpacked = pipeline(counted, createGunzip(), () => undefined)
    try {
      for await (const chunk of unpacked) yield chunk
    } catch (error) {
      const isBad = errorCode(error)?.startsWith('Z_') === true
      throw isBad ? new Error('The input is not sound gzip', { cause: error }) : error
    }
  }

  [Symbol.dispose](): void {
    this.#interrupt.removeEventListener('abort', this.#stop)
    this.#stream.destroy()
  }

  async *#count(): AsyncGenerator<Buffer> {
    for await (const chunk of this.#stream) {
      const bytes = Buffer.from(chunk)
      this.bytesRead += bytes.length
      yield bytes
    }
  }
}

/** Puts records in batches and counts them. */
class Loader {
  /** The position up to which records are durable. */
  position: ImportPosition
  /** The number of records that an earlier import had put. */
  readonly skipped: number
  readonly #store: ByteStore
  readonly #batchCount: number
  readonly #progress: ImportProgress
  readonly #resumed: ImportPosition
  #read = IMPORT_START
  #batch: WriteBatch<Buffer>

  constructor(store: ByteStore, batchCount: number, resume: boolean) {
    this.#store = store
    this.#batchCount = batchCount
    this.#progress = new ImportProgress(store.directory)
    this.#resumed = (resume ? this.#progress.read() : undefined) ?? IMPORT_START
    this.position = this.#resumed
    this.skipped = this.#resumed.records
    this.#batch = store.batch()
  }

  /** Says what has been done so far. */
  get summary(): string {
    const { records } = this.position
    return records === 0
      ? 'Nothing was imported'
      : `${countOf(records, 'record')} of the input were imported; --resume continues after them`
  }

  async add(entry: Entry): Promise<void> {
    const { records, digest } = this.#read
    const bytes = checksum(entry.key, 0, entry.key.length, digest)
    this.#read = {
      records: records + 1,
      digest: checksum(entry.value, 0, entry.value.length, bytes),
    }
    if (this.#read.records <= this.skipped) {
      if (this.#read.records === this.skipped) this.#assertSameInput()
      return
    }
    try {
      this.#batch.put(entry.key, entry.value, { expiresAt: entry.expiresAt })
    } catch (error) {
      const reason = isError(error) ? error.message : String(error)
      throw new Error(`Record ${formatCount(this.#read.records)}: ${reason}`, { cause: error })
    }
    const isFull = this.#batch.length >= this.#batchCount || this.#batch.byteSize >= MAX_BATCH_SIZE
    if (isFull) await this.#commit()
  }

  async finish(): Promise<void> {
    if (this.#read.records < this.skipped) this.#assertSameInput()
    await this.#commit()
    this.#progress.remove()
  }

  async #commit(): Promise<void> {
    if (this.#batch.length === 0) return
    await this.#batch.commit()
    this.#batch = this.#store.batch()
    this.position = this.#read
    this.#progress.write(this.position)
  }

  #assertSameInput(): void {
    if (this.#read.digest === this.#resumed.digest) return
    throw new Error(
      `The input is not the one that was begun with: its first ${formatCount(this.skipped)} records differ`,
    )
  }
}
