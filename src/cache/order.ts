/**
 * The order in which a cache evicts entries, by its policy.
 *
 * - `sieve`: a hand moves from old entries to new ones. It spares an entry that was read since it
 *   last passed, and evicts any other. Reading only sets a mark. After Zhang, Yang, Yue, Vigfusson
 *   and Rashmi, "SIEVE is Simpler than LRU", NSDI 2024.
 * - `lru`: evicts the least recently used entry.
 * - `fifo`: evicts the entry that was added first.
 */

import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { LISTED, type PageSource, Queue, type QueueMeta, UNLISTED } from './queue.ts'

/** The order in which entries are evicted. */
export type CachePolicy = 'sieve' | 'lru' | 'fifo'

/** The mark of an entry that was read since the hand last passed. */
const VISITED = 2

/** @internal The state of an order without its pages, for restoring it; plain JSON. */
export interface OrderMeta {
  readonly policy: CachePolicy
  readonly hand: Entry
  readonly queue: QueueMeta
}

/** @internal The order of a cache's entries. The keydir knows which of them still exist. */
export class Order {
  readonly #policy: CachePolicy
  readonly #queue: Queue
  /** The entry at which the hand continues; if there is none, at the oldest. */
  #hand: Entry
  /** Whether links were found that lead nowhere. */
  #isBroken = false

  constructor(policy: CachePolicy, queue = new Queue(), hand: Entry = NO_ENTRY) {
    this.#policy = policy
    this.#queue = queue
    this.#hand = hand
  }

  /** Restores an order without reading a page. */
  static restore({ policy, hand, queue }: OrderMeta, source: PageSource): Order {
    return new Order(policy, Queue.restore(queue, source), hand)
  }

  /** The state without the pages. */
  get meta(): OrderMeta {
    return { policy: this.#policy, hand: this.#hand, queue: this.#queue.meta }
  }

  /** The bytes of the pages. */
  get byteSize(): number {
    return this.#queue.byteSize
  }

  /** Whether a part of the order was lost, so that entries may be missing from it. */
  get isBroken(): boolean {
    return this.#isBroken || this.#queue.isBroken
  }

  /** Reads the pages that were not used since the order was restored. */
  load(): void {
    for (const page of this.#queue.pages()) void page
  }

  /** The bytes of the queue's pages. */
  pages(): Iterable<Uint8Array> {
    return this.#queue.pages()
  }

  /** Whether an entry is in the order. */
  knows(entry: Entry): boolean {
    return this.#queue.markOf(entry) !== UNLISTED
  }

  /** Notes that an entry was used or added. */
  use(entry: Entry): void {
    const queue = this.#queue
    if (queue.markOf(entry) === UNLISTED) {
      queue.add(entry)
    } else if (this.#policy === 'sieve') {
      queue.setMark(entry, VISITED)
    } else if (this.#policy === 'lru') {
      queue.remove(entry)
      queue.add(entry)
    }
  }

  /** Takes an entry out. */
  forget(entry: Entry): void {
    if (!this.knows(entry)) return
    if (this.#hand === entry) this.#hand = this.#queue.newerThan(entry)
    this.#queue.remove(entry)
  }

  /** Takes out the entry to evict next, and returns it; {@link NO_ENTRY} if there is none. */
  next(): Entry {
    const queue = this.#queue
    let entry = this.#hand === NO_ENTRY ? queue.oldest : this.#hand
    while (queue.markOf(entry) === VISITED) {
      queue.setMark(entry, LISTED)
      const newer = queue.newerThan(entry)
      entry = newer === NO_ENTRY ? queue.oldest : newer
    }
    if (entry === NO_ENTRY) return NO_ENTRY
    if (queue.markOf(entry) === UNLISTED) {
      // The links led out of the queue: a part of it could not be read.
      this.clear()
      this.#isBroken = true
      return NO_ENTRY
    }
    if (this.#policy === 'sieve') this.#hand = queue.newerThan(entry)
    queue.remove(entry)
    return entry
  }

  /** Forgets the whole order, which is then not broken any longer. */
  clear(): void {
    this.#isBroken = false
    this.#queue.clear()
    this.#hand = NO_ENTRY
  }
}
