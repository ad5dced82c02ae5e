/**
 * A batch of records on their way into a keydir. It collects them, and returns them in an order
 * that suits the keydir.
 *
 * Consecutive records of a segment have unrelated keys. Applied in that order, each record touches
 * another place of a large keydir and waits for memory there. In the order of a large batch, many
 * records touch the same place (measured, bench `open-raw`).
 *
 * 1. Add. The parts of a record that the keydir needs are copied; the value is not. The first
 *    records show how to rank the others: a rank is a number that sorts like the places in the
 *    keydir. After that each record goes to the bucket for the highest bits of its rank.
 * 2. Take. One bucket at a time, which fits into the processor's cache, records are sorted by rank
 *    and returned. A few records are never ranked, and come back in the order in which they were
 *    added.
 *
 * Invariants
 * - Records of one key come back in the order in which they were added: equal keys have equal
 *   ranks, and both the buckets and the sort keep the order of equals.
 * - A batch takes at most some 66 MiB, which is 1.3 million records with keys of 16 bytes.
 */

import { copyBytes } from '../format/bytes.ts'
import type { Page, RecordFields } from '../format/record.ts'
import { allocateWords } from '../io/memory.ts'
import { KeyRanks, type KeyVisitor } from '../keydir/key-ranks.ts'
import { type Keydir, RANK_BITS } from '../keydir/keydir.ts'
import { HeldMemory, HeldRecord, HeldRecords } from './held-records.ts'
import { RankSort } from './rank-sort.ts'

const BUCKET_BITS = 8
const BUCKET_COUNT = 2 ** BUCKET_BITS
const BUCKET_SHIFT = RANK_BITS - BUCKET_BITS
/** The number of records that are collected before any is ranked. */
const SAMPLE_COUNT = 4096
/** The most bytes that the records of a batch may take. */
const MAX_BYTES = 64 * 1024 * 1024

/** Collects records and returns them; see the top of this file. */
export class LoadBatch {
  /** The number of records in it. */
  count = 0
  /** The keydir that the records are for; none between two loads. */
  #keydir: Keydir | undefined
  readonly #memory = new HeldMemory()
  readonly #record = new HeldRecord()
  /** The first records, until it is known how to rank them. */
  readonly #sample = new HeldRecords(this.#memory)
  readonly #buckets: readonly HeldRecords[]
  #isRanked = false
  /** Ranks keys if the keydir does not. */
  #ranks: KeyRanks | undefined
  readonly #sort = new RankSort()
  /** The number of the bucket that is being taken, and its records. */
  #bucket = -1
  #taken: HeldRecords = this.#sample
  /** The position of the next record in their order, and the end of that. */
  #at = 0
  #end = 0

  /** Returns a batch for a keydir, to be given back by `release`. */
  static obtain(keydir: Keydir): LoadBatch {
    const batch = spare ?? new LoadBatch()
    spare = undefined
    batch.#keydir = keydir
    return batch
  }

  private constructor() {
    this.#buckets = Array.from({ length: BUCKET_COUNT }, () => new HeldRecords(this.#memory))
  }

  /** Whether all records must be taken before more are added. */
  get isFull(): boolean {
    return this.#memory.used > MAX_BYTES
  }

  /** Adds a record of a segment whose fields were just read from `page`. */
  add(
    fields: RecordFields,
    page: Page,
    segment: number,
    offset: number,
    keepAbsence: boolean,
  ): void {
    this.count++
    if (this.#isRanked) {
      const rank = this.#rank(page.bytes, fields.keyAt, fields.keySize)
      const bucket = this.#buckets[rank >>> BUCKET_SHIFT] as HeldRecords
      bucket.add(rank, fields, page, segment, offset, keepAbsence)
    } else {
      this.#sample.add(0, fields, page, segment, offset, keepAbsence)
      if (this.#sample.count === SAMPLE_COUNT) this.#rankSample()
    }
  }

  /**
   * Takes out the next record; `undefined` if none is left. The result is valid until the next
   * call.
   */
  take(): HeldRecord | undefined {
    while (this.#at === this.#end) if (!this.#nextBucket()) return undefined
    const place = this.#sort.pairs[this.#at + 1] as number
    this.#at += 2
    this.#taken.read(place, this.#record)
    return this.#record
  }

  /**
   * Gives back this batch, all of which must have been taken, and its memory. One batch is kept for
   * the next load, because the code compiled for it would go with the last batch (measured, bench
   * `open-hints`).
   */
  release(): void {
    this.#keydir = undefined
    this.#memory.release()
    this.#sort.release()
    spare = this
  }

  /** Begins the next bucket. Returns false if there is none; the batch is then empty again. */
  #nextBucket(): boolean {
    if (this.#bucket >= 0) this.#taken.clear()
    this.#bucket++
    const isAll = !this.#isRanked && this.#bucket > 0
    const bucket = this.#isRanked ? this.#buckets[this.#bucket] : this.#sample
    if (isAll || bucket === undefined) {
      this.#bucket = -1
      this.#isRanked = false
      this.count = 0
      return false
    }
    this.#taken = bucket
    const sort = this.#sort
    sort.begin(bucket.count)
    bucket.list(sort.pairs)
    if (this.#isRanked) sort.sort(bucket.count, BUCKET_SHIFT)
    this.#at = 0
    this.#end = bucket.count * 2
    return true
  }

  /** Finds out from the first records how to rank keys, and puts these records into buckets. */
  #rankSample(): void {
    const sample = this.#sample
    const record = this.#record
    const pairs = allocateWords(sample.count * 2)
    sample.list(pairs)
    const visitAll = (visit: KeyVisitor): void => {
      for (let at = 0; at < pairs.length; at += 2) {
        sample.showKey(pairs[at + 1] as number, visit)
      }
    }
    this.#ranks = this.#keydir?.rank === undefined ? KeyRanks.ofSample(visitAll) : undefined
    for (let at = 0; at < pairs.length; at += 2) {
      const place = pairs[at + 1] as number
      sample.read(place, record)
      const rank = this.#rank(record.key, 0, record.keySize)
      ;(this.#buckets[rank >>> BUCKET_SHIFT] as HeldRecords).take(rank, sample, place)
    }
    sample.clear()
    this.#isRanked = true
  }

  #rank(bytes: Uint8Array, at: number, size: number): number {
    if (this.#ranks !== undefined) return this.#ranks.rank(bytes, at, size)
    const { key } = this.#record
    if (bytes !== key) copyBytes(bytes, at, size, key, 0)
    return this.#keydir?.rank?.(key, size) ?? 0
  }
}

/** A batch that is not in use. */
let spare: LoadBatch | undefined
