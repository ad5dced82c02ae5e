/**
 * The file that keeps a cache's order from a clean close to the next open. Native byte order.
 *
 *   offset  size  field
 *        0     4  size of the head
 *        4     4  CRC-32 of the head
 *        8        the head: JSON, see OrderHead
 *        +        the queue's pages, back to back; each is read when it is first needed
 *
 * The file names entries by number, so it is valid only with the keydir it was written with. Damage
 * to it loses the order, and nothing else.
 */

import { join } from 'node:path'
import type { Engine } from '../engine/engine.ts'
import { checksum } from '../format/checksum.ts'
import { CACHE_ORDER_NAME } from '../format/names.ts'
import { errorCode, type FileDescriptor, readFully, removeIfThere } from '../io/files.ts'
import { writePieces } from '../io/new-file.ts'
import { fileChecksum } from '../io/vouched.ts'
import { LITTLE_ENDIAN } from '../keydir/key-words.ts'
import type { RecoveryReport } from '../recovery/report.ts'
import type { SegmentContext } from '../segment/file.ts'
import { type CachePolicy, Order, type OrderMeta } from './order.ts'
import { type PageSource, QUEUE_PAGE_SIZE } from './queue.ts'

/** The head of the file. */
interface OrderHead {
  readonly byteOrder: string
  readonly storeId: string
  /** The store's next sequence, which shows that nothing was written after the order. */
  readonly sequence: number
  readonly tagCount: number
  /** The bytes of the tags' records. Files of older versions lack it, and are not used. */
  readonly tagBytes?: number
  readonly order: OrderMeta
  /** The CRC-32 of each page. */
  readonly pages: readonly number[]
}

/** The content of an order's file. */
interface KnownOrder {
  readonly order: Order
  /** How many tags have a record. */
  readonly tagCount: number
  /** The bytes of these records. */
  readonly tagBytes: number
}

const PREFIX_SIZE = 8
const BYTE_ORDER = LITTLE_ENDIAN ? 'LE' : 'BE'
/** The size limit of a head. */
const MAX_HEAD_SIZE = 64 * 1024 * 1024

/** Writes the order of a cache that is being closed. */
export function writeOrder(engine: Engine, { order, tagCount, tagBytes }: KnownOrder): void {
  const { files, directory, storeId } = engine.segments.context
  const head: OrderHead = {
    byteOrder: BYTE_ORDER,
    storeId: Buffer.from(storeId).toString('hex'),
    sequence: engine.nextSequence,
    tagCount,
    tagBytes,
    order: order.meta,
    pages: Array.from(order.pages(), checksumOf),
  }
  const json = Buffer.from(JSON.stringify(head))
  const prefix = Buffer.alloc(PREFIX_SIZE)
  prefix.writeUInt32LE(json.length, 0)
  prefix.writeUInt32LE(checksumOf(json), 4)
  const path = join(directory, CACHE_ORDER_NAME)
  const file = files.open(path, 'create')
  try {
    writePieces(files, file, [prefix, json, ...order.pages()])
  } finally {
    files.close(file)
  }
}

/** Reads the order of a cache that was just opened. Removes the file if it does not match. */
export function readOrder(
  engine: Engine,
  recovery: RecoveryReport,
  policy: CachePolicy,
): KnownOrder | undefined {
  const { context } = engine.segments
  const untouched =
    recovery.source === 'checkpoint' && recovery.closed && recovery.replayedCount === 0
  const known = untouched ? openOrder(engine, policy) : undefined
  if (known === undefined) removeOrder(context)
  return known
}

/** Removes the file. Pages that were not read yet are lost. */
export function removeOrder({ files, directory }: SegmentContext): void {
  removeIfThere(files, join(directory, CACHE_ORDER_NAME))
}

function openOrder(engine: Engine, policy: CachePolicy): KnownOrder | undefined {
  const { segments } = engine
  const { files, directory } = segments.context
  let file: FileDescriptor
  try {
    file = files.open(join(directory, CACHE_ORDER_NAME), 'read')
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
  const reader = new PageReader(segments.context, file)
  // The pages are read while the cache is open.
  segments.closeWith(reader)
  const head = reader.readHead()
  if (
    head?.tagBytes === undefined ||
    head.byteOrder !== BYTE_ORDER ||
    head.storeId !== Buffer.from(segments.context.storeId).toString('hex') ||
    head.sequence !== engine.nextSequence
  ) {
    reader.close()
    return undefined
  }
  return {
    order: Order.restore({ ...head.order, policy }, reader.source(head.pages)),
    tagCount: head.tagCount,
    tagBytes: head.tagBytes,
  }
}

/** Reads an order's file: the head, then pages as they are needed. */
class PageReader {
  readonly #context: SegmentContext
  readonly #file: FileDescriptor
  #pagesAt = 0
  #closed = false

  constructor(context: SegmentContext, file: FileDescriptor) {
    this.#context = context
    this.#file = file
  }

  /** Reads the head; returns `undefined` if it is damaged. */
  readHead(): OrderHead | undefined {
    const prefix = this.#read(PREFIX_SIZE, 0)
    const size = prefix?.readUInt32LE(0) ?? 0
    if (prefix === undefined || !this.#isVouchedFor(size, prefix.readUInt32LE(4))) return undefined
    const json = this.#read(size, PREFIX_SIZE)
    if (json === undefined) return undefined
    this.#pagesAt = PREFIX_SIZE + size
    // Safety: the checksum shows that this is what writeOrder wrote.
    return JSON.parse(json.toString()) as OrderHead
  }

  /** Whether the head has its size and checksum. It is not in memory yet. */
  #isVouchedFor(size: number, crc: number): boolean {
    const { files } = this.#context
    try {
      if (size > Math.min(MAX_HEAD_SIZE, files.size(this.#file))) return false
      return (
        fileChecksum(files, this.#file, [{ from: PREFIX_SIZE, to: PREFIX_SIZE + size }], 0) === crc
      )
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      return false
    }
  }

  /** Returns a source of the pages with these checksums. */
  source(checksums: readonly number[]): PageSource {
    return (index) => {
      const bytes = this.#closed
        ? undefined
        : this.#read(QUEUE_PAGE_SIZE, this.#pagesAt + index * QUEUE_PAGE_SIZE)
      return bytes !== undefined && checksumOf(bytes) === checksums[index] ? bytes : undefined
    }
  }

  /** Closes the file. May be called again. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#context.files.close(this.#file)
  }

  #read(size: number, position: number): Buffer | undefined {
    const bytes = Buffer.allocUnsafeSlow(size)
    const { files } = this.#context
    try {
      return readFully(files, this.#file, bytes, size, position) === size ? bytes : undefined
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      return undefined
    }
  }
}

function checksumOf(bytes: Uint8Array): number {
  return checksum(bytes, 0, bytes.length, 0)
}
