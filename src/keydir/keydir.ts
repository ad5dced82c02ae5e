/**
 * The keydir: the in-memory map from key to location.
 *
 * Its entries (key, location, sequence, expiry) live in one arena off the JavaScript heap
 * (entries.ts). A kind is only an index over them: it finds an entry by its key, and walks entries
 * in key order.
 *
 * Invariants
 * - Keys are compared as unsigned bytes; a key that is a prefix of another comes first.
 * - An entry's number is stable from `insert` to `remove`, unless `update` returns another.
 * - An entry whose record size is 0 is an *absence*: the keydir knows that the key is not there.
 *   Recovery keeps absences for tombstones until no older record can turn up. A snapshot keeps them
 *   for keys that were added after it.
 * - A change takes all the memory that it needs before it changes anything. If it throws
 *   FIRKIN_NO_MEMORY, the keydir is unchanged. A removal takes no more memory than a `find` of its
 *   key does.
 */

import type { KeydirKind } from '../format/keydir-kind.ts'
import type { Entries } from './entries.ts'
import type { Entry } from './entry.ts'

export { type Entry, NO_ENTRY } from './entry.ts'

/** The number of bits in a key's rank: enough to tell apart most of a million keys. */
export const RANK_BITS = 24

/** The keys that a cursor walks, and its direction. A missing bound is open. */
export interface KeyRange {
  readonly lower: Uint8Array | undefined
  readonly lowerInclusive: boolean
  readonly upper: Uint8Array | undefined
  readonly upperInclusive: boolean
  readonly reverse: boolean
}

/**
 * Walks the entries of a range in key order.
 *
 * A cursor stands between two keys. It is valid until the keydir is changed; after a change, call
 * `seekBeyond` with the last key that it returned. Between its creation and its last use, the
 * keydir's entries must be pinned (`entries.pin()`), so that the keys of removed entries stay
 * readable. The bounds are not copied.
 *
 * If the keydir is not ordered, a cursor returns the entries that were there when it was created,
 * except those that were removed, or moved by an `update`, since then.
 */
export interface KeydirCursor {
  /**
   * Returns the next entry in the cursor's direction, absences included, or {@link NO_ENTRY} at the
   * end of the range.
   */
  next(): Entry
  /**
   * Moves the cursor just past `key` in its direction: the next entry is the first one beyond it.
   */
  seekBeyond(key: Uint8Array, keySize: number): void
}

/** The parts of a keydir that are written to a checkpoint: some figures, and the arenas. */
export interface KeydirImage {
  /** Whatever the kind needs besides its arenas; plain JSON. */
  readonly meta: unknown
  /** Each arena as its chunks in order; views, valid until the keydir is next changed. */
  readonly arenas: readonly (readonly Uint8Array[])[]
}

/** The part of the entries that is read without searching for another entry. */
export type EntryReader = Pick<
  Entries,
  | 'count'
  | 'expiringCount'
  | 'locate'
  | 'segmentOf'
  | 'offsetOf'
  | 'sizeOf'
  | 'sequenceOf'
  | 'expiresAtOf'
  | 'keyView'
  | 'keyText'
>

/** Anything that holds entries: a keydir, or the versions that views see. */
export interface EntryHolder {
  readonly entries: EntryReader
}

/**
 * The part of an open store's keydir that any code may use: its figures, and the fields of entries
 * that the engine has returned. Any other access to a restored keydir may find damage, so it is
 * left to code that can handle it: recovery, which then loads without the checkpoint, and the
 * engine, which rebuilds the keydir.
 */
export interface KnownKeydir extends EntryHolder {
  readonly kind: KeydirKind
  readonly size: number
  readonly byteSize: number
}

/** The contract that every kind fulfils; test/keydir/contract.ts is its suite. */
export interface Keydir {
  readonly kind: KeydirKind
  /** Whether keys are kept in order; if not, a cursor sorts its range when it is created. */
  readonly ordered: boolean
  readonly entries: Entries
  /** The number of entries, absences included. */
  readonly size: number
  /** The bytes of memory reserved, entries included. */
  readonly byteSize: number

  /**
   * Returns the entry of the key that is the first `keySize` bytes of `key`, or {@link NO_ENTRY}.
   *
   * @param words the same bytes as words, padded with zeros to a word's end; this is faster
   */
  find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry

  /**
   * Adds an entry for a key that is not there. A `find` of the same key just before makes it
   * cheaper. The key's bytes are copied.
   * A location travels as five numbers: passed as an object it made batches 8 % slower, and puts of
   * new keys 4 % (measured, 40 interleaved pairs of builds).
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; the keydir is unchanged then
   * @param size the record's size in bytes; 0 for an absence
   * @param expiresAtMs 0 if the record does not expire
   */
  insert(
    key: Uint8Array,
    keySize: number,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry

  /**
   * Returns a number of {@link RANK_BITS} bits for a key. Adding many keys is fastest in ascending
   * order of their ranks, because they then go to adjacent places in memory. Missing if that is the
   * order of the keys themselves.
   */
  rank?(key: Uint8Array, keySize: number): number

  /**
   * Changes the fields of an entry. Returns its number, which may be a new one, except if only
   * segment and offset change.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; the keydir is unchanged then
   */
  update(
    entry: Entry,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry

  /** Removes an entry that is there. After a `find` of its key it takes no memory. */
  remove(entry: Entry): void

  /**
   * Returns a cursor over `range`, before its first entry. @throws {@link StoreError}
   * FIRKIN_NO_MEMORY
   */
  cursor(range: KeyRange): KeydirCursor

  /** Returns what a checkpoint keeps, or `undefined` for a kind that is always rebuilt. */
  image(): KeydirImage | undefined

  /**
   * Gives its memory back. The keydir, its images, and views of its keys must not be used any more.
   */
  release(): void
}
