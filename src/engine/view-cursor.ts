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

/** How many entries a cursor takes ahead at first, where it is not known how many are wanted. */
const FIRST_AHEAD = 4

/** Called with entries that are about to be given. */
export type LookAhead = (keydir: Keydir, list: readonly Entry[], count: number) => void

/**
 * Walks the keys of a range as a view sees them, in order.
 *
 * Where no version is in the way it takes entries ahead, more and more of them, and has them looked at; a change
 * of the keydir makes it forget what it took and find its place again.
 */
export class ViewCursor {
  /** What holds the entry that `next` gave last. */
  holder: EntryHolder
  /** Where that entry is in `ahead`; -1 where it was not taken ahead. */
  place = -1
  readonly #views: Views
  readonly #view: View
  readonly #range: KeyRange
  readonly #lookAhead: LookAhead
  // No typed array, which would be costly to make for a short range (measured, bench `ycsb`).
  readonly ahead = new Array<Entry>(MAX_AHEAD).fill(NO_ENTRY)
  #aheadSize: number
  /** How many entries are still wanted, at most. */
  #wanted: number
  #aheadCount = 0
  #aheadNext = 0
  #version = -1
  /** What is walked of the keydir. */
  #present: Source
  /** What is walked of the versions, where any may be for the view. */
  #past: Source | undefined
  #last: FoundEntry | undefined

  /** @param lookAhead called where entries are taken ahead of being asked for */
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

  /** The next entry, of `this.holder`, or {@link NO_ENTRY} at the end. */
  next(): Entry {
    for (;;) {
      if (this.#version !== this.#views.version) this.#reseat()
      const entry = this.#past === undefined ? this.#nextAlone() : this.#nextOfBoth(this.#past)
      if (entry === NO_ENTRY) return NO_ENTRY
      const { entries } = this.holder
      if (entries.sizeOf(entry) === 0) continue
      if (hasExpired(entries, entry, this.#view.expiry)) continue
      // Not before it was looked at: of an entry that a damaged checkpoint has lost there is no key to find again.
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
    // What has expired is taken too, and not given: so it may come to more than is wanted.
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

  /** The lower head of the two. Where both have the key, the version is right, and the keydir's entry is stepped over. */
  #nextOfBoth(past: Source): Entry {
    const present = this.#present
    const order = this.#order(past, present)
    if (order === 0) present.take()
    const source = order > 0 ? present : past
    this.place = -1
    this.holder = source.holder
    return source.take()
  }

  /** Which of two heads comes first in the cursor's direction, by the sign; what is at its end comes last. */
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
    // One that has given nothing yet may have taken a head: it begins anew.
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

/** What is walked, with the entry that comes next once it was looked at. */
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

  /** Gives the next entry and steps over it. */
  take(): Entry {
    if (!this.#isFilled) return this.cursor.next()
    const { head } = this
    this.head = this.cursor.next()
    return head
  }
}
