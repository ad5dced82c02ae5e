/**
 * Reads one segment's file: by a mapping if there is one, by position otherwise. Blocks that were
 * read by position are cached (block-cache.ts).
 *
 * Invariants
 * - Bytes below `writtenSize` never change and are never cut, so that a mapping may show them.
 * - A file that another process writes is not mapped, because it may be cut at any time.
 * - A sealed segment's file may be closed while it is not used, if too many are open. It is opened
 *   again by its path, and must then be what it was. A mapping needs no open file.
 */

import { join } from 'node:path'
import { CorruptionError, isError, StoreError } from '../errors.ts'
import { encodeFileHeader, type Predecessor } from '../format/file-header.ts'
import { hintName, segmentName } from '../format/names.ts'
import { type Page, pageOf } from '../format/record.ts'
import {
  discard,
  errorCode,
  type FileDescriptor,
  type Files,
  readFully,
  writeFully,
} from '../io/files.ts'
import type { HeldFiles } from '../io/held-files.ts'
import { canMap, mapFile, unmapFile } from '../io/mapping.ts'
import { blockCache, FileBlocks, MAX_CACHED_SIZE, type ReadBlock } from './block-cache.ts'
import type { Remains } from './disposal.ts'
import { openSegmentFile, readSegmentHeader, type SegmentContext } from './file.ts'
import { LargePage } from './large-page.ts'
import type { NextFile } from './next-file.ts'
import type { OpenFiles } from './open-files.ts'
import { SegmentUsage } from './usage.ts'

/** Records up to this size are read into one buffer, which all segments share. */
const SCRATCH_SIZE = 64 * 1024

/**
 * A file is mapped after it was read as many times as it has pieces of this size. A runtime counts
 * a mapping as memory of its heap, so that each one makes the garbage collector run. A file that is
 * hardly read is not worth that (measured, the soak's large segments).
 */
const BYTES_PER_READ = 256 * 1024

const scratch = pageOf(Buffer.allocUnsafeSlow(SCRATCH_SIZE))

/** The memory for larger records; its content is valid until the next one is read. */
const large = new LargePage()
const NOT_MAPPED = pageOf(Buffer.alloc(0))

/** The origin of a segment: writes or a merge. */
type SegmentOrigin = 'appended' | 'merged'

/**
 * The surroundings of a segment of a store that may be written: its directory is held open, so that
 * no other directory is changed in its place.
 */
export interface HeldSegmentContext extends SegmentContext {
  readonly files: HeldFiles
}

/** Returns the context of a store in a directory that is held. */
export function heldContext(files: HeldFiles, storeId: Uint8Array): HeldSegmentContext {
  return { files, directory: files.directory, storeId }
}

/** The error for a file that the store's writer merged and deleted after it was closed here. */
export class SegmentGone extends StoreError {
  constructor(path: string, cause: unknown) {
    const message = `${path} is gone: the store's writer merged it, and what this shows is older`
    super('FIRKIN_READ_FAILED', message, { cause })
  }
}

/** A segment of an open store. */
export class Segment {
  readonly id: number
  readonly origin: SegmentOrigin
  readonly path: string
  readonly hintPath: string
  readonly usage: SegmentUsage
  /** The number of bytes in the file; less than `usage.size` while some are staged. */
  writtenSize: number
  /** Where the last record begins that was read when the file was replayed; 0 if none was. */
  lastReadAt = 0
  /** The bytes that are staged after `writtenSize`, while this is the active segment. */
  stage: Page | undefined = undefined
  /** Where the record that was located last begins in the page that was returned. */
  at = 0

  readonly #context: SegmentContext
  readonly #files: Files
  #file: FileDescriptor | undefined
  /** Bounds how many files are open; `undefined` as long as the file must stay open. */
  #among: OpenFiles | undefined
  /** The number of the last use, see {@link OpenFiles.use}. */
  usedAt = 0
  /** The most bytes that a mapping may show; 0 for no mapping. */
  readonly #mappingSize: number
  #mapped = NOT_MAPPED
  #mayMap: boolean
  /** The number of reads by position. */
  #readCount = 0
  /** The cached blocks, once there may be some. */
  #blocks: FileBlocks | undefined
  #closed = false
  /** The number of threads that write to the file, and what is closed when they have ended. */
  #writerCount = 0
  readonly #unclosed: FileDescriptor[] = []

  /** @param mappingSize the most bytes that a mapping may show; 0 for no mapping */
  constructor(
    context: SegmentContext,
    id: number,
    origin: SegmentOrigin,
    file: FileDescriptor,
    usage: SegmentUsage,
    mappingSize: number,
  ) {
    this.id = id
    this.origin = origin
    this.path = join(context.directory, segmentName(id))
    this.hintPath = join(context.directory, hintName(id))
    this.#context = context
    this.#file = file
    this.usage = usage
    this.writtenSize = usage.size
    this.#files = context.files
    this.#mappingSize = mappingSize
    this.#mayMap = mappingSize > 0 && canMap()
  }

  /**
   * Creates the file of an appended segment, with its header; not synced.
   *
   * @param next a file that was created ahead
   */
  static create(
    context: SegmentContext,
    id: number,
    predecessor: Predecessor | undefined,
    mappingSize: number,
    next: NextFile,
  ): Segment {
    const { files } = context
    const path = join(context.directory, segmentName(id))
    const file = next.take(path) ?? files.open(path, 'create')
    try {
      const header = encodeFileHeader({
        type: 'segment',
        storeId: context.storeId,
        fileId: id,
        origin: 'appended',
        predecessor,
      })
      writeFully(files, file, header, header.length, 0)
    } catch (error) {
      files.close(file)
      discard(files, path)
      throw error
    }
    return new Segment(context, id, 'appended', file, new SegmentUsage(), mappingSize)
  }

  /**
   * Returns the page that holds the record of `size` bytes at `offset`, which must be whole,
   * written or staged; it begins at `this.at`. The page is valid until the next call for any
   * segment.
   *
   * @throws {@link CorruptionError} if the file ends before the record does
   * @throws {@link StoreError} FIRKIN_READ_FAILED
   */
  locate(offset: number, size: number): Page {
    return this.mappedAt(offset, size) ?? this.#locateElsewhere(offset, size)
  }

  /** As {@link locate}, for a record that is mapped already; `undefined` if it is not. */
  mappedAt(offset: number, size: number): Page | undefined {
    const mapped = this.#mapped
    if (offset + size > mapped.bytes.length || offset >= this.writtenSize) return undefined
    this.at = offset
    return mapped
  }

  /**
   * As {@link locate}, but reads the file itself; returns `undefined` if `locate` does so, too. For
   * a record that turned out to be damaged: its cached bytes are given up.
   */
  locateAfresh(offset: number, size: number): Page | undefined {
    return this.#blocks?.drop(offset, size) === true ? this.#read(offset, size) : undefined
  }

  /** As {@link locate}, for a record that is cached; `undefined` if it is not. */
  cachedAt(offset: number, size: number): Page | undefined {
    const blocks = this.#blocks
    const page = blocks?.find(offset, size)
    if (blocks !== undefined && page !== undefined) this.at = blocks.at
    return page
  }

  /** The memory that cached blocks of the file take. */
  get cachedSize(): number {
    return this.#blocks?.byteSize ?? 0
  }

  /**
   * The file, open; to be used at once, because the use of another segment may close it.
   *
   * @throws as {@link locate}
   */
  get file(): FileDescriptor {
    if (this.#among !== undefined) this.usedAt = this.#among.use()
    return this.#file ?? this.#reopen()
  }

  /** The file's descriptor if it is open, otherwise its path. */
  get whereabouts(): FileDescriptor | string {
    return this.#file ?? this.path
  }

  /**
   * Counts the file among those that may be closed while they are not used. It is not written any
   * more.
   */
  shelve(among: OpenFiles): void {
    this.#among?.closed(this)
    this.#among = among
    this.usedAt = among.use()
    if (this.#file !== undefined) among.opened(this)
  }

  /** Closes the file until it is used. */
  rest(): void {
    if (this.#file === undefined) return
    this.#close(this.#file)
    this.#file = undefined
    this.#among?.closed(this)
  }

  /**
   * Returns the file, which stays open, whatever happens, until {@link releaseFile}. For a thread
   * that writes to it.
   */
  holdFile(): FileDescriptor {
    const { file } = this
    this.#writerCount++
    return file
  }

  /** Ends one {@link holdFile}. */
  releaseFile(): void {
    if (--this.#writerCount > 0) return
    for (const file of this.#unclosed.splice(0)) this.#files.close(file)
  }

  #close(file: FileDescriptor): void {
    if (this.#writerCount > 0) this.#unclosed.push(file)
    else this.#files.close(file)
  }

  /** The bytes of the file that are mapped. */
  get mappedBytes(): Uint8Array {
    const { bytes } = this.#mapped
    return bytes.length <= this.writtenSize ? bytes : bytes.subarray(0, this.writtenSize)
  }

  /** Closes the file; what was located before must not be read any more. */
  close(): void {
    const mapped = this.#mapped.bytes
    if (!this.#end()) return
    this.rest()
    if (mapped.length > 0) unmapFile(mapped)
  }

  /**
   * As {@link close} for a file that is deleted next, but leaves it open; returns `undefined` if it
   * is not left open.
   */
  leave(): Remains | undefined {
    const mapped = this.#mapped.bytes
    if (!this.#end()) return undefined
    const file = this.#file ?? this.#openToLeave()
    this.#file = undefined
    this.#among?.closed(this)
    const isUnmapped = mapped.length === 0 || unmapFile(mapped)
    if (file === undefined) return undefined
    if (this.#writerCount > 0) {
      this.#unclosed.push(file)
      return undefined
    }
    return { file, mapped: isUnmapped ? undefined : mapped.buffer }
  }

  /** Marks the segment as closed; returns whether it was not. */
  #end(): boolean {
    if (this.#closed) return false
    this.#closed = true
    this.#mapped = NOT_MAPPED
    this.#blocks?.dropAll()
    return true
  }

  #openToLeave(): FileDescriptor | undefined {
    try {
      return this.#files.open(this.path, 'read')
    } catch {
      // It is deleted without one, which reports what is wrong, or only takes longer.
      return undefined
    }
  }

  #reopen(): FileDescriptor {
    if (this.#closed) throw new Error(`Segment ${this.id} is closed`)
    // In another directory, the path may lead to another store's file.
    this.#context.files.assertThere?.()
    const { path, file, size } = this.#openAgain()
    try {
      const header = readSegmentHeader(this.#context, file, path, this.id)
      if (header === 'short' || size < this.writtenSize) {
        const message = `The file has ${size} bytes; it had ${this.writtenSize}`
        throw new CorruptionError(message, path, size)
      }
    } catch (error) {
      this.#files.close(file)
      throw error
    }
    this.#file = file
    this.#among?.opened(this)
    return file
  }

  #openAgain() {
    try {
      return openSegmentFile(this.#context, this.id)
    } catch (error) {
      const isGone = isError(error) && errorCode(error.cause) === 'ENOENT'
      throw isGone ? new SegmentGone(this.path, error) : error
    }
  }

  #locateElsewhere(offset: number, size: number): Page {
    if (offset >= this.writtenSize && this.stage !== undefined) {
      this.at = offset - this.writtenSize
      return this.stage
    }
    const cached = this.cachedAt(offset, size)
    if (cached !== undefined) return cached
    if (this.#mayMap && ++this.#readCount * BYTES_PER_READ > this.#mappingSize) {
      this.#mayMap = false
      if (this.#files.size(this.file) >= this.writtenSize) {
        const mapped = mapFile(this.file, this.#mappingSize)
        if (mapped !== undefined) this.#mapped = pageOf(mapped)
        if (mapped !== undefined && this.#among !== undefined) this.rest()
        if (offset + size <= this.#mapped.bytes.length) return this.locate(offset, size)
      }
    }
    const end = this.writtenSize
    if (!this.#mayMap && size <= MAX_CACHED_SIZE && offset + size <= end) {
      const isLast = this.#among !== undefined
      this.#blocks ??= new FileBlocks(blockCache())
      if (this.#blocks.copy(offset, size, scratch.bytes, end, isLast, this.#readBlock)) {
        this.at = 0
        return scratch
      }
    }
    return this.#read(offset, size)
  }

  readonly #readBlock: ReadBlock = (target, size, position) =>
    readFully(this.#files, this.file, target, size, position)

  #read(offset: number, size: number): Page {
    if (offset + size > this.writtenSize) {
      throw new CorruptionError('The file ends inside a record', this.path, this.writtenSize)
    }
    this.at = 0
    const page = size <= SCRATCH_SIZE ? scratch : large.of(size)
    let read: number
    try {
      read = readFully(this.#files, this.file, page.bytes, size, offset)
    } catch (error) {
      if (error instanceof StoreError) throw error
      throw new StoreError('FIRKIN_READ_FAILED', `Cannot read ${this.path}`, { cause: error })
    }
    if (read < size) {
      throw new CorruptionError('The file ends inside a record', this.path, offset + read)
    }
    return page
  }
}
