/**
 * Records on their way into a keydir: collected, and given back in an order that suits it.
 *
 * Records that follow each other in a segment have keys that have nothing to do with each other, so that each of them
 * sends a large keydir to another place in memory, and waits for it there. In a large batch many go to every place
 * (measured, bench `open-raw`).
 *
 * 1. Add. What the keydir needs of a record is copied; its value is not. By the first ones it is found out how to rank
 *    records: to give each a number, which sorts as the places in the keydir do. From then on each goes to the bucket
 *    that the highest bits of its rank name.
 * 2. Take. Bucket by bucket, as much as the processor's cache holds, they are sorted by their ranks and given back. A few
 *    records are never ranked, and come back as they were added.
 *
 * Invariants
 * - Records of one key come back in the order in which they were added: equal keys have equal ranks, and both the
 *   buckets and the sort keep the order of equals.
 * - However much there is to be loaded, a batch takes some 66 MiB at most, which is 1.3 million records with keys of 16
 *   bytes.
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
/** So many records are looked at before any is ranked. */
const SAMPLE_COUNT = 4096
/** The bytes that the records of a batch may take. */
const MAX_BYTES = 64 * 1024 * 1024

/** Collects records, and gives them back; see the top of this file. */
export class LoadBatch {
  /** How many records there are. */
  count = 0
  /** What the records are for; none between two loads. */
  #keydir: Keydir | undefined
  readonly #memory = new HeldMemory()
  readonly #record = new HeldRecord()
  /** The first records, until it is known how to rank them. */
  readonly #sample = new HeldRecords(this.#memory)
  readonly #buckets: readonly HeldRecords[]
  #isRanked = false
  /** How keys are ranked, where the keydir does not rank them. */
  #ranks: KeyRanks | undefined
  readonly #sort = new RankSort()
  /** What is being taken: the number of the bucket, its records, where the next stands in their order, where that ends. */
  #bucket = -1
  #taken: HeldRecords = this.#sample
  #at = 0
  #end = 0

  /** Gives a batch for a keydir; `release` ends its use. */
  static obtain(keydir: Keydir): LoadBatch {
    const batch = spare ?? new LoadBatch()
    spare = undefined
    batch.#keydir = keydir
    return batch
  }

  private constructor() {
    this.#buckets = Array.from({ length: BUCKET_COUNT }, () => new HeldRecords(this.#memory))
  }

  /** Whether all must be taken before more is added. */
  get isFull(): boolean {
    return this.#memory.used > MAX_BYTES
  }

  /** Adds a record of a segment, whose fields were just read from `page`. */
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

  /** Takes the next record out; `undefined` when none is left. What is answered is valid until the next call. */
  take(): HeldRecord | undefined {
    while (this.#at === this.#end) if (!this.#nextBucket()) return undefined
    const place = this.#sort.pairs[this.#at + 1] as number
    this.#at += 2
    this.#taken.read(place, this.#record)
    return this.#record
  }

  /**
   * Ends the use of this batch, all of which must have been taken, and gives its memory back. One batch is kept for the
   * next load: the code that was compiled for it would go with the last one (measured, bench `open-hints`).
   */
  release(): void {
    this.#keydir = undefined
    this.#memory.release()
    this.#sort.release()
    spare = this
  }

  /** Goes on with the next bucket; false where there is none, and the batch begins anew. */
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

  /** Finds out how to rank keys by the first ones, and puts these into their buckets, of which none is being taken. */
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
