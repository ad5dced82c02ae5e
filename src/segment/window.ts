/**
 * Windows that slide over a file, for reading it from front to back.
 *
 * A window that is lent for the length of a call takes over the memory of the one lent before it: a
 * follower looks at files many times a second, and the garbage collector is slow to notice memory
 * off its heap. Only {@link Window.lend} takes that memory and gives it back. A window that is
 * constructed, to go on with over several calls, has memory of its own.
 */

import { checksum } from '../format/checksum.ts'
import { MIN_RECORD_SIZE, type Page, pageOf, RECORD_CRC_SIZE } from '../format/record.ts'
import { type FileDescriptor, type Files, readFully } from '../io/files.ts'
import { allocateOwnBuffer } from '../io/memory.ts'

/** The number of bytes that are read at once. */
const WINDOW_SIZE = 256 * 1024
/** A file that is smaller than a window gets a page of a power of two from this size on. */
const MIN_PAGE_SIZE = 16 * 1024
const ZEROS = Buffer.alloc(4096)
const NO_PAGE = pageOf(Buffer.allocUnsafe(0))

/** The page of the window that was lent last; `NO_PAGE` while it is lent. */
let sparePage = NO_PAGE

/** A window that slides over a file. */
export class Window {
  readonly #files: Pick<Files, 'read'>
  readonly #file: FileDescriptor
  readonly #to: number
  #page: Page = NO_PAGE
  #from = 0
  #filled = 0

  /**
   * Makes a window with memory of its own.
   *
   * @param to where the window ends; it shows nothing beyond
   */
  constructor(files: Pick<Files, 'read'>, file: FileDescriptor, to: number) {
    this.#files = files
    this.#file = file
    this.#to = to
  }

  /** Calls `look` with a window, which must not be used afterwards; returns its result. */
  static lend<T>(
    files: Pick<Files, 'read'>,
    file: FileDescriptor,
    to: number,
    look: (window: Window) => T,
  ): T {
    const window = new Window(files, file, to)
    window.#page = sparePage
    sparePage = NO_PAGE
    try {
      return look(window)
    } finally {
      window.#giveBack()
    }
  }

  /** The page that shows the file. */
  get page(): Page {
    return this.#page
  }

  /** Where in the page the window's bytes end. */
  get end(): number {
    return this.#filled
  }

  /** Forgets what it has read, so that it is read again. */
  forget(): void {
    this.#filled = 0
  }

  /**
   * Makes `size` bytes at `offset` visible, as far as the file has them; returns where they begin.
   */
  show(offset: number, size: number): number {
    const wanted = Math.min(size, this.#to - offset)
    if (offset >= this.#from && offset + wanted <= this.#from + this.#filled) {
      return offset - this.#from
    }
    const span = Math.min(Math.max(WINDOW_SIZE, wanted), this.#to - offset)
    if (this.#page.bytes.length < span) this.#page = pageOf(allocateOwnBuffer(pageSizeOf(span)))
    this.#from = offset
    this.#filled = readFully(this.#files, this.#file, this.#page.bytes, span, offset)
    return 0
  }

  /**
   * Returns whether the checksum of the `size` bytes at `offset` matches the one they begin with.
   * It reads a window's size at a time, however large `size` is.
   */
  vouchesFor(offset: number, size: number, seed: number): boolean {
    const start = this.show(offset, MIN_RECORD_SIZE)
    const expected = this.#page.view.getUint32(start, true)
    let crc = seed
    for (let at = offset + RECORD_CRC_SIZE; at < offset + size; ) {
      const place = this.show(at, Math.min(WINDOW_SIZE, offset + size - at))
      const end = Math.min(place + offset + size - at, this.#filled)
      if (end <= place) return false
      crc = checksum(this.#page.bytes, place, end, crc)
      at += end - place
    }
    return crc === expected
  }

  /** Counts the zeros from a place in the page on, in whole blocks; returns 0 if they are few. */
  zerosFrom(place: number): number {
    const { bytes, view } = this.#page
    // Most places without a record do not begin with zeros either.
    if (bytes[place] !== 0 || place + 4 > this.#filled || view.getUint32(place) !== 0) return 0
    let at = place
    while (at < this.#filled) {
      const size = Math.min(ZEROS.length, this.#filled - at)
      if (bytes.compare(ZEROS, 0, size, at, at + size) !== 0) break
      at += size
    }
    return at - place
  }

  /** Hands its page on to the next window that is lent, unless that has a larger one already. */
  #giveBack(): void {
    const { length } = this.#page.bytes
    if (length <= WINDOW_SIZE && length > sparePage.bytes.length) sparePage = this.#page
    this.#page = NO_PAGE
    this.#filled = 0
  }
}

function pageSizeOf(span: number): number {
  return span >= WINDOW_SIZE ? span : Math.max(MIN_PAGE_SIZE, 2 ** Math.ceil(Math.log2(span)))
}
