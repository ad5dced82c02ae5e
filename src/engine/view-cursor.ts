/**
 * Walks a range of keys as a view sees them: the entries of its keydir, and the versions that
 * replace some of them.
 */

import type { Entries } from '../keydir/entries.ts'
import {
  type Entry,
  type EntryHolder,
  type Keydir,
  type KeydirCursor,
  type KeyRange,
  NO_ENTRY,
} from '../keydir/keydir.ts'
import { hasExpired } from '../segment/sweeps.ts'
import type { ResolvedRange } from './range.ts'
import { MAX_AHEAD } from './read-ahead.ts'
import { VersionCursor } from './version-cursor.ts'
import type { FoundEntry, View, Views } from './views.ts'

/**
 * The number of entries that a cursor takes ahead at first, if it is not known how many are wanted.
 */
const FIRST_AHEAD = 4

/** Called with entries that are about to be returned. */
export type LookAhead = (keydir: Keydir, list: readonly Entry[], count: number) => void

/**
 * Walks the keys of a range as a view sees them, in order.
 *
 * If the view sees no versions, the cursor takes entries ahead, more and more of them, and has them
 * looked at. A change of the keydir makes it drop what it took and find its place again.
 */
export class ViewCursor {
  /** The holder of the entry that `next` returned last. */
  holder: EntryHolder
  /** The index of that entry in `ahead`; -1 if it was not taken ahead. */
  place = -1
  readonly #views: Views
  readonly #view: View
  readonly #range: KeyRange
  readonly #lookAhead: LookAhead
  // Not a typed array, which would be costly to make for a short range (measured, bench `ycsb`).
  /** The entries that were taken ahead. */
  readonly ahead = new Array<Entry>(MAX_AHEAD).fill(NO_ENTRY)
  #aheadSize: number
  /** The most entries that are still wanted. */
  #wanted: number
  #aheadCount = 0
  #aheadNext = 0
  #version = -1
  /** Walks the keydir. */
  #present: Source
  /** Walks the versions, if there may be any for the view. */
  #past: Source | undefined
  #last: FoundEntry | undefined

  /** @param lookAhead called when entries are taken ahead */
  constructor(views: Views, view: View, range: ResolvedRange, lookAhead: LookAhead) {
    this.#views = views
    this.#view = view
    this.#range = range
    this.#lookAhead = lookAhead
    this.#wanted = range.limit
    this.#aheadSize = range.limit === Number.POSITIVE_INFINITY ? FIRST_AHEAD : MAX_AHEAD
    const keydir = views.keydirOf(view)
    this.holder = keydir
    this.#present = new Source(keydir, keydir.cursor(range))
    this.#reseat()
  }

  /** Returns the next entry, of `this.holder`, or {@link NO_ENTRY} at the end. */
  next(): Entry {
    for (;;) {
      if (this.#version !== this.#views.version) this.#reseat()
      const entry = this.#past === undefined ? this.#nextAlone() : this.#nextOfBoth(this.#past)
      if (entry === NO_ENTRY) return NO_ENTRY
      const { entries } = this.holder
      if (entries.sizeOf(entry) === 0) continue
      if (hasExpired(entries, entry, this.#view.expiry)) continue
      // Only after it was looked at: an entry that a damaged checkpoint has lost has no key to find
      // again.
      this.#remember(entry)
      return entry
    }
  }

  #nextAlone(): Entry {
    if (this.#aheadNext === this.#aheadCount) this.#takeAhead()
    if (this.#aheadCount === 0) return NO_ENTRY
    this.holder = this.#present.holder
    this.place = this.#aheadNext++
    return this.ahead[this.place] as Entry
  }

  #takeAhead(): void {
    const source = this.#present
    const { ahead } = this
    // Expired entries are taken too, but not returned, so that more may be taken than is wanted.
    const size = Math.min(this.#aheadSize, Math.max(this.#wanted, 1))
    let count = 0
    while (count < size) {
      const entry = source.take()
      if (entry === NO_ENTRY) break
      ahead[count++] = entry
    }
    this.#wanted -= count
    this.#aheadSize = Math.min(this.#aheadSize * 2, MAX_AHEAD)
    this.#aheadCount = count
    this.#aheadNext = 0
    this.#lookAhead(this.#views.keydirOf(this.#view), ahead, count)
  }

  /**
   * Takes the lower head of the two. If both have the key, the version is right, and the keydir's
   * entry is skipped.
   */
  #nextOfBoth(past: Source): Entry {
    const present = this.#present
    const order = this.#order(past, present)
    if (order === 0) present.take()
    const source = order > 0 ? present : past
    this.place = -1
    this.holder = source.holder
    return source.take()
  }

  /**
   * Compares two heads in the cursor's direction; a negative result puts `left` first. A source
   * that is at its end comes last.
   */
  #order(left: Source, right: Source): number {
    if (left.head === NO_ENTRY) return 1
    if (right.head === NO_ENTRY) return -1
    const key = right.holder.entries.keyView(right.head)
    const order = left.holder.entries.compareKey(left.head, key, key.length)
    return this.#range.reverse ? -order : order
  }

  #remember(entry: Entry): void {
    const { holder } = this
    this.#last ??= { holder, entry }
    this.#last.holder = holder
    this.#last.entry = entry
  }

  /** Finds its place again after a change. */
  #reseat(): void {
    const range = this.#range
    const hasBegun = this.#version >= 0
    this.#version = this.#views.version
    this.#aheadCount = 0
    this.#aheadNext = 0
    const keydir = this.#views.keydirOf(this.#view)
    const versions = this.#views.versionsOf(this.#view)
    const last = this.#last
    const key = last?.holder.entries.keyView(last.entry)
    // A cursor that has returned nothing yet may have taken a head: it begins again.
    const isOfUse = this.#present.holder === keydir && (key !== undefined || !hasBegun)
    const cursor = isOfUse ? this.#present.cursor : keydir.cursor(range)
    this.#present = new Source(keydir, cursor)
    this.#past = versions && new Source(versions, new VersionCursor(versions, this.#view.id, range))
    if (key !== undefined) {
      this.#present.cursor.seekBeyond(key, key.length)
      this.#past?.cursor.seekBeyond(key, key.length)
    }
    if (this.#past === undefined) return
    this.#present.fill()
    this.#past.fill()
  }
}

/** A cursor with its next entry, once that was looked at. */
class Source {
  readonly holder: { readonly entries: Entries }
  readonly cursor: KeydirCursor
  head: Entry = NO_ENTRY
  #isFilled = false

  constructor(holder: { readonly entries: Entries }, cursor: KeydirCursor) {
    this.holder = holder
    this.cursor = cursor
  }

  /** Looks at the next entry. */
  fill(): void {
    this.head = this.cursor.next()
    this.#isFilled = true
  }

  /** Returns the next entry and steps over it. */
  take(): Entry {
    if (!this.#isFilled) return this.cursor.next()
    const { head } = this
    this.head = this.cursor.next()
    return head
  }
}
