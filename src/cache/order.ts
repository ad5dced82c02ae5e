/**
 * In which order a cache gives up its entries.
 *
 * - `sieve`: a hand goes from old to new; an entry that was read since the hand last passed is spared, any other is
 *   given up. Reading only sets a mark. After Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is Simpler than
 *   LRU", NSDI 2024.
 * - `lru`: the one whose last use is longest ago.
 * - `fifo`: the one that came first.
 */

import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'
import { LISTED, type PageSource, Queue, type QueueMeta, UNLISTED } from './queue.ts'

/** In which order entries are given up. */
export type CachePolicy = 'sieve' | 'lru' | 'fifo'

/** The mark of an entry that was read since the hand last passed. */
const VISITED = 2

/** What an order needs beside its pages to be restored; plain JSON. */
export interface OrderMeta {
  readonly policy: CachePolicy
  readonly hand: Entry
  readonly queue: QueueMeta
}

/** Keeps the order of a cache's entries; which of them are still there, the keydir knows. */
export class Order {
  readonly #policy: CachePolicy
  readonly #queue: Queue
  /** Where the hand goes on; at the oldest entry where there is none. */
  #hand: Entry
  /** Whether the queue was found to lead nowhere. */
  #isBroken = false

  constructor(policy: CachePolicy, queue = new Queue(), hand: Entry = NO_ENTRY) {
    this.#policy = policy
    this.#queue = queue
    this.#hand = hand
  }

  static restore({ policy, hand, queue }: OrderMeta, source: PageSource): Order {
    return new Order(policy, Queue.restore(queue, source), hand)
  }

  get meta(): OrderMeta {
    return { policy: this.#policy, hand: this.#hand, queue: this.#queue.meta }
  }

  get byteSize(): number {
    return this.#queue.byteSize
  }

  /** Whether a part of the order was lost with the disk: what it knows is not all there is. */
  get isBroken(): boolean {
    return this.#isBroken || this.#queue.isBroken
  }

  /** Reads what has not been touched since the order was restored. */
  load(): void {
    for (const page of this.#queue.pages()) void page
  }

  /** The bytes of the queue's pages. */
  pages(): Iterable<Uint8Array> {
    return this.#queue.pages()
  }

  /** Whether the order knows an entry. */
  knows(entry: Entry): boolean {
    return this.#queue.markOf(entry) !== UNLISTED
  }

  /** Takes note that an entry was used, or has come. */
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

  /** Takes out the entry that is to be given up next, and answers it; {@link NO_ENTRY} where none is known. */
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
      // The links led out of the queue: a part of it was lost with the disk.
      this.clear()
      this.#isBroken = true
      return NO_ENTRY
    }
    if (this.#policy === 'sieve') this.#hand = queue.newerThan(entry)
    queue.remove(entry)
    return entry
  }

  /** Forgets the whole order, which is then not broken. */
  clear(): void {
    this.#isBroken = false
    this.#queue.clear()
    this.#hand = NO_ENTRY
  }
}
