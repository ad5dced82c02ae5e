/**
 * The order in which a cache's entries are evicted, with every entry in it.
 *
 * An order may be lost, by a kill or with a part of its file, and the keydir whose entries it names
 * may be replaced. It is then rebuilt in the order of the records, so that the entries written last
 * stay longest.
 */

import type { Engine } from '../engine/engine.ts'
import { type Entry, type KnownKeydir, NO_ENTRY } from '../keydir/keydir.ts'
import { RankSort } from '../recovery/rank-sort.ts'
import type { Order } from './order.ts'
import { isTagKey, type Tags } from './tags.ts'

/** How many entries are visited in one step. */
const WALK_ENTRIES = 1024
/** The bits of an entry's rank. */
const RANK_BITS = 32

/** The order of one cache, rebuilt if it was lost. */
export class CompleteOrder {
  readonly #engine: Engine
  readonly #order: Order
  readonly #tags: Tags
  readonly #oldestSequence: () => number
  /** The keydir whose entries the order names. */
  #keydir: KnownKeydir

  /**
   * @param keydir the one whose entries `order` names
   * @param tags counted again when the order is rebuilt
   * @param oldestSequence returns the lowest sequence in any segment
   */
  constructor(
    engine: Engine,
    order: Order,
    keydir: KnownKeydir,
    tags: Tags,
    oldestSequence: () => number,
  ) {
    this.#engine = engine
    this.#order = order
    this.#keydir = keydir
    this.#tags = tags
    this.#oldestSequence = oldestSequence
  }

  /** The bytes that the order takes. */
  get byteSize(): number {
    return this.#order.byteSize
  }

  /** Notes that an entry was used or added. */
  use(entry: Entry): void {
    this.#order.use(entry)
  }

  /** Takes an entry out. */
  forget(entry: Entry): void {
    this.#order.forget(entry)
  }

  /** Takes out the entry to evict next, and returns it; {@link NO_ENTRY} if there is none. */
  next(): Entry {
    const engine = this.#engine
    for (;;) {
      const order = this.complete()
      const entry = order.next()
      if (entry === NO_ENTRY) {
        if (order.isBroken) continue
        return NO_ENTRY
      }
      const isLive = engine.live.isLive(entry)
      // To find out, the keydir may have been loaded again.
      if (engine.keydir !== this.#keydir) continue
      if (isLive && !isTagKey(engine.keydir.entries.keyView(entry))) return entry
    }
  }

  /** Forgets the whole order, for a keydir without entries. */
  clear(): void {
    this.#order.clear()
    this.#keydir = this.#engine.keydir
  }

  /** Reads the pages that were not used since the order was restored. */
  load(): void {
    this.#order.load()
  }

  /** Rebuilds the order if entries are missing, and returns it. */
  complete(): Order {
    if (this.#order.isBroken || this.#keydir !== this.#engine.keydir) this.rebuild()
    return this.#order
  }

  /** Orders all entries by their records, forgets the expired ones, and counts the tags. */
  rebuild(): void {
    const engine = this.#engine
    const present = engine.present()
    const sort = new RankSort()
    const first = Math.min(this.#oldestSequence(), engine.nextSequence)
    // If there are more sequences than ranks, some share a rank.
    const scale = Math.max(1, (engine.nextSequence - first) / 2 ** RANK_BITS)
    let count = 0
    for (let place = 0; place !== -1; ) {
      if (place === 0) {
        count = 0
        this.#tags.resetCount()
        sort.begin(engine.keydir.size)
      }
      const { entries } = engine.keydir
      place = engine.live.walk(place, WALK_ENTRIES, (entry) => {
        if (engine.hasExpired(entry, present)) {
          engine.forget(entry, present)
        } else if (isTagKey(entries.keyView(entry))) {
          this.#tags.add(entries.sizeOf(entry))
        } else {
          sort.pairs[count * 2] = Math.floor((entries.sequenceOf(entry) - first) / scale)
          sort.pairs[count * 2 + 1] = entry
          count++
        }
      })
    }
    sort.sort(count, bitLength((engine.nextSequence - first) / scale))
    this.#order.clear()
    for (let at = 0; at < count; at++) this.#order.use(sort.pairs[at * 2 + 1] as Entry)
    this.#keydir = engine.keydir
  }
}

/** Returns how many bits the numbers up to `largest` need. */
function bitLength(largest: number): number {
  return Math.min(RANK_BITS, Math.ceil(Math.log2(largest + 1)))
}
