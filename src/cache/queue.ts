/**
 * The queue of a cache's entries, off the JavaScript heap: a doubly linked list of entry numbers.
 *
 * An entry takes at least five words of the keydir's arena, so its number divided by five is a
 * *slot* of its own. Slots lie in pages:
 *
 *     8 bytes each  the newer and the older neighbour, as entry numbers; 0 is none
 *     1 byte each   the mark: 0 if the entry is not in the queue, or the policy's own mark
 *
 * Invariants
 * - The queue may hold entries that the keydir has forgotten; their numbers may even have gone to
 *   other keys. Whoever takes an entry from the queue asks the keydir whether it is live.
 * - A restored page is read when it is first needed. If it is missing, the links lead nowhere: the
 *   queue is then broken, and has to be cleared and filled again.
 */

import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'

/** The words of the smallest entry; see keydir/entries.ts. */
const SLOT_WORDS = 5
const PAGE_BITS = 12
const PAGE_SLOTS = 1 << PAGE_BITS
const PAGE_MASK = PAGE_SLOTS - 1
const LINKS_SIZE = PAGE_SLOTS * 8

/** The bytes of a page. */
export const QUEUE_PAGE_SIZE = LINKS_SIZE + PAGE_SLOTS

const NEWER = 0
const OLDER = 1

/** The mark of an entry that is not in the queue. */
export const UNLISTED = 0
/** The mark of an entry that was just added. */
export const LISTED = 1

/** The state of a queue without its pages, for restoring it; plain JSON. */
export interface QueueMeta {
  readonly newest: Entry
  readonly oldest: Entry
  readonly pageCount: number
}

/** Reads one page of a stored queue; returns `undefined` if it is missing or damaged. */
export type PageSource = (page: number) => Uint8Array | undefined

interface Page {
  readonly bytes: Uint8Array
  readonly links: Uint32Array
  readonly marks: Uint8Array
}

/** A queue of entries, from the oldest to the newest. */
export class Queue {
  readonly #pages: (Page | undefined)[] = []
  #source: PageSource | undefined
  /** How many pages the source should have. */
  #storedCount = 0
  #isBroken = false
  #newest: Entry = NO_ENTRY
  #oldest: Entry = NO_ENTRY

  /** Restores a queue without reading a page. */
  static restore({ newest, oldest, pageCount }: QueueMeta, source: PageSource): Queue {
    const queue = new Queue()
    queue.#newest = newest
    queue.#oldest = oldest
    queue.#source = source
    queue.#storedCount = pageCount
    for (let index = 0; index < pageCount; index++) queue.#pages.push(undefined)
    return queue
  }

  /** The oldest entry; {@link NO_ENTRY} if the queue is empty. */
  get oldest(): Entry {
    return this.#oldest
  }

  /** Whether a restored page could not be read. */
  get isBroken(): boolean {
    return this.#isBroken
  }

  /** The bytes of all pages. */
  get byteSize(): number {
    return this.#pages.length * QUEUE_PAGE_SIZE
  }

  /** The state without the pages. */
  get meta(): QueueMeta {
    return { newest: this.#newest, oldest: this.#oldest, pageCount: this.#pages.length }
  }

  /** Yields the bytes of every page, to store them. */
  *pages(): Generator<Uint8Array> {
    for (let index = 0; index < this.#pages.length; index++) yield this.#pageAt(index).bytes
  }

  /** Returns the mark of an entry; {@link UNLISTED} if it is not in the queue. */
  markOf(entry: Entry): number {
    const slot = slotOf(entry)
    return this.#pageOf(slot).marks[slot & PAGE_MASK] as number
  }

  /** Changes the mark of an entry that is in the queue. */
  setMark(entry: Entry, mark: number): void {
    const slot = slotOf(entry)
    this.#pageOf(slot).marks[slot & PAGE_MASK] = mark
  }

  /** Returns the next newer entry; {@link NO_ENTRY} after the newest. */
  newerThan(entry: Entry): Entry {
    return this.#link(entry, NEWER)
  }

  /** Adds an entry as the newest. It must not be in the queue. */
  add(entry: Entry): void {
    const second = this.#newest
    this.setMark(entry, LISTED)
    this.#setLink(entry, NEWER, NO_ENTRY)
    this.#setLink(entry, OLDER, second)
    if (second === NO_ENTRY) this.#oldest = entry
    else this.#setLink(second, NEWER, entry)
    this.#newest = entry
  }

  /** Removes an entry. It must be in the queue. */
  remove(entry: Entry): void {
    const newer = this.#link(entry, NEWER)
    const older = this.#link(entry, OLDER)
    this.setMark(entry, UNLISTED)
    if (newer === NO_ENTRY) this.#newest = older
    else this.#setLink(newer, OLDER, older)
    if (older === NO_ENTRY) this.#oldest = newer
    else this.#setLink(older, NEWER, newer)
  }

  /** Removes every entry. */
  clear(): void {
    this.#pages.length = 0
    this.#source = undefined
    this.#storedCount = 0
    this.#isBroken = false
    this.#newest = NO_ENTRY
    this.#oldest = NO_ENTRY
  }

  #link(entry: Entry, which: number): Entry {
    const slot = slotOf(entry)
    return this.#pageOf(slot).links[(slot & PAGE_MASK) * 2 + which] as number
  }

  #setLink(entry: Entry, which: number, to: Entry): void {
    const slot = slotOf(entry)
    this.#pageOf(slot).links[(slot & PAGE_MASK) * 2 + which] = to
  }

  #pageOf(slot: number): Page {
    const index = slot >>> PAGE_BITS
    return this.#pages[index] ?? this.#pageAt(index)
  }

  #pageAt(index: number): Page {
    const known = this.#pages[index]
    if (known !== undefined) return known
    for (let next = this.#pages.length; next < index; next++) this.#pages.push(undefined)
    const stored = this.#source?.(index)
    if (stored === undefined && index < this.#storedCount) this.#isBroken = true
    const page = pageOver(stored ?? new Uint8Array(QUEUE_PAGE_SIZE))
    this.#pages[index] = page
    return page
  }
}

function slotOf(entry: Entry): number {
  return Math.floor(entry / SLOT_WORDS)
}

function pageOver(bytes: Uint8Array): Page {
  const { buffer, byteOffset } = bytes
  return {
    bytes,
    links: new Uint32Array(buffer, byteOffset, PAGE_SLOTS * 2),
    marks: new Uint8Array(buffer, byteOffset + LINKS_SIZE, PAGE_SLOTS),
  }
}
