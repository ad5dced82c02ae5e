/** The part that all kinds of keydirs share: their entries, and how one is changed. */

import { Entries } from './entries.ts'
import type { Entry } from './entry.ts'
import type { Keydir, KeydirCursor, KeydirImage, KeyRange } from './keydir.ts'
import type { SearchKey } from './search-key.ts'

/** An index over entries. A kind extends it, and does the searching. */
export abstract class EntryIndex implements Keydir {
  abstract readonly kind: Keydir['kind']
  abstract readonly ordered: boolean
  readonly entries: Entries

  constructor(entries = new Entries()) {
    this.entries = entries
  }

  get size(): number {
    return this.entries.count
  }

  update(
    entry: Entry,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry {
    const { entries } = this
    if (entries.fits(entry, size, sequence, expiresAtMs)) {
      entries.set(entry, segment, offset, size, sequence, expiresAtMs)
      return entry
    }
    const key = this.searchEntry(entry)
    const moved = entries.allocate(key, segment, offset, size, sequence, expiresAtMs)
    this.replace(entry, moved)
    entries.free(entry)
    return moved
  }

  abstract get byteSize(): number
  abstract find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry
  abstract insert(...entry: Parameters<Keydir['insert']>): Entry
  abstract remove(entry: Entry): void
  abstract cursor(range: KeyRange): KeydirCursor
  abstract image(): KeydirImage | undefined
  abstract release(): void

  /** Finds the place of an entry that is there, and returns its key. */
  protected abstract searchEntry(entry: Entry): SearchKey
  /** Puts another entry in the place that the last `searchEntry` found; takes no memory. */
  protected abstract replace(entry: Entry, moved: Entry): void
}
