/**
 * The keydir: the in-memory map from key to location.
 *
 * Its entries (key, location, sequence, expiry) live in one arena off the JavaScript heap (entries.ts).
 * A kind is only an index over them: it finds an entry by its key, and walks entries in key order.
 *
 * Invariants
 * - Keys are compared as unsigned bytes; a key that is a prefix of another comes first.
 * - An entry's number is stable from `insert` to `remove`, except where `update` answers another.
 * - An entry whose record size is 0 is an *absence*: the keydir knows the key as not there. Recovery keeps
 *   absences for tombstones until no older record can turn up; a snapshot keeps them for keys born after it.
 * - A change takes all the memory that it needs before it changes anything: where it throws FIRKIN_NO_MEMORY the
 *   keydir is as it was. A removal takes no more than a `find` of its key does.
 */

import type { KeydirKind } from '../format/keydir-kind.ts'
import type { Entries } from './entries.ts'
import type { Entry } from './entry.ts'

export { type Entry, NO_ENTRY } from './entry.ts'

/** How many bits a key's rank has: enough to tell most of a million keys apart. */
export const RANK_BITS = 24

/** Which keys a cursor walks, and in which direction. A missing bound is open. */
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
 * A cursor stands between two keys. It is valid until the keydir is changed; after a change, `seek` again
 * from the last key that it gave. Between its creation and `close` the keydir's entries must be pinned
 * (`entries.pin()`), so that the keys of removed entries stay readable. The bounds are not copied.
 *
 * Where the keydir is not ordered, a cursor gives what was there when it was created, less what was removed,
 * or moved by an `update`, since.
 */
export interface KeydirCursor {
  /** The next entry in the cursor's direction, or {@link NO_ENTRY} at the end of the range. Absences are given too. */
  next(): Entry
  /** Stands just behind `key` in the cursor's direction: the next entry is the first one beyond it. */
  seekBeyond(key: Uint8Array, keySize: number): void
}

/** What a keydir is made of when it is written to a checkpoint: some numbers, and the arenas by name. */
export interface KeydirImage {
  /** Whatever the kind needs beside its arenas; plain JSON. */
  readonly meta: unknown
  /** Each arena as its chunks in order; views, valid until the keydir is next changed. */
  readonly arenas: readonly (readonly Uint8Array[])[]
}

/** What of an entry is read without looking for another one. */
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

/** What holds entries: a keydir, or the versions that views see. */
export interface EntryHolder {
  readonly entries: EntryReader
}

/**
 * What anyone may ask of an open store's keydir: its figures, and what entries hold that the engine has answered. A
 * restored keydir may turn out to be damaged wherever else it is touched, so that only those may look into it who know
 * what to do then: recovery, which loads without the checkpoint, and the engine, which loads it anew.
 */
export interface KnownKeydir extends EntryHolder {
  readonly kind: KeydirKind
  readonly size: number
  readonly byteSize: number
}

/** The contract that every kind keeps; test/keydir/contract.ts is its suite. */
export interface Keydir {
  readonly kind: KeydirKind
  /** Whether keys are kept in order; where they are not, a cursor sorts its range when it is created. */
  readonly ordered: boolean
  readonly entries: Entries
  /** How many entries there are, absences included. */
  readonly size: number
  /** Bytes of memory reserved, entries included. */
  readonly byteSize: number

  /**
   * The entry of the key that is the first `keySize` bytes of `key`.
   *
   * @param words the same bytes as words, padded with zeros to a word's end, by which it is faster
   */
  find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry

  /**
   * Adds an entry for a key that is not there. A `find` of the same key just before makes it cheaper.
   * The key's bytes are copied.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; the keydir is as it was
   * @param size the record's size in bytes; 0 for an absence
   * @param expiresAtMs 0 where the record does not expire
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
   * A number of {@link RANK_BITS} bits for a key: many keys are added fastest in ascending order of it, because they
   * then go to one place in memory after the other. Missing where that is the order of the keys.
   */
  rank?(key: Uint8Array, keySize: number): number

  /**
   * Changes what an entry holds. Answers its number, which may be another one, but not where only segment and offset
   * change.
   *
   * @throws {@link StoreError} FIRKIN_NO_MEMORY; the keydir is as it was
   */
  update(
    entry: Entry,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry

  /** Removes an entry that is there. Behind a `find` of its key it takes no memory. */
  remove(entry: Entry): void

  /** A cursor over `range`, standing before its first entry. @throws {@link StoreError} FIRKIN_NO_MEMORY */
  cursor(range: KeyRange): KeydirCursor

  /** What a checkpoint keeps, or `undefined` for a kind that is always rebuilt. */
  image(): KeydirImage | undefined

  /** Gives its memory back; it must not be used any more, nor a view of a key or an image of it. */
  release(): void
}
