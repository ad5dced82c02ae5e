/**
 * Views: the store as of a moment, for snapshots and iterators.
 *
 * The keydir shows the present. While views are open, each change first saves what it replaces in the *layer* of
 * the newest view: the old location, or an absence where the key was not there. A view looks in its own layer,
 * then in those of the newer views, oldest first, then in the keydir; the first that knows the key is right.
 *
 * Invariants
 * - A key is saved in a layer once: by the first change after the view was opened.
 * - When a view closes, what its layer knows goes to the next older view, unless that one knows better. Where there is
 *   no memory for it, the layer stays where it is until the next view closes.
 * - A segment that a layer may point into is not deleted: see `oldestOpenId`.
 * - Nothing is staged while a view is opened, so that whatever a view shows has been written: a group that fails takes
 *   back only what came after. What layers know of its keys is as it was before the group, and stays right.
 * - A view looks only through layers over its own keydir: a read-only store that was loaded anew has another.
 */

import type { StoreError } from './errors.ts'
import { NoMemory } from './io/memory.ts'
import { createKeydir } from './keydir/create.ts'
import {
  type Entry,
  type Keydir,
  type KeydirCursor,
  type KeyRange,
  type KnownKeydir,
  NO_ENTRY,
} from './keydir/keydir.ts'
import { LostKeydir } from './lost-keydir.ts'
import type { ResolvedRange } from './range.ts'
import { MAX_AHEAD } from './read-ahead.ts'

/** The store as of the moment at which the view was opened. */
export interface View {
  readonly id: number
  /** The moment, by the store's clock: what had expired then is not there. */
  readonly nowMs: number
  /** What the view looks into behind the layers. */
  readonly keydir: Keydir
  /** Why nothing of it can be shown any more. */
  readonly ended: StoreError | undefined
}

interface OpenView extends View {
  keydir: Keydir
  ended: StoreError | undefined
  /** Whether it has been closed, and stands there for its layer's sake alone. */
  isClosed: boolean
  /** What changed since this view was opened and before the next newer one was. */
  layer: Keydir | undefined
}

/** An entry, and the keydir that holds it. */
export interface Found {
  keydir: KnownKeydir
  entry: Entry
}

/** The open views of a store. */
export class Views {
  /** Goes up whenever the keydir or a layer changes while views are open. */
  version = 0
  #keydir: Keydir
  #nextId = 1
  /** Oldest first. */
  readonly #open: OpenView[] = []
  /** How many of them have been closed. */
  #closedCount = 0

  constructor(keydir: Keydir) {
    this.#keydir = keydir
  }

  get openCount(): number {
    return this.#open.length - this.#closedCount
  }

  /** The id of the oldest open view; infinite where none is open. */
  get oldestOpenId(): number {
    return this.#open[0]?.id ?? Number.POSITIVE_INFINITY
  }

  /** The id that the next view gets. */
  get nextId(): number {
    return this.#nextId
  }

  /** Opens a view of the present, of which nothing may be staged; see `Engine.openView`. */
  open(nowMs: number): View {
    const keydir = this.#keydir
    keydir.entries.pin()
    const view: OpenView = {
      id: this.#nextId++,
      nowMs,
      keydir,
      isClosed: false,
      ended: undefined,
      layer: undefined,
    }
    this.#open.push(view)
    return view
  }

  /** Closes a view; idempotent. */
  close(view: View): void {
    const place = this.#open.findIndex((open) => open.id === view.id)
    const closing = this.#open[place]
    if (closing === undefined || closing.isClosed) return
    closing.isClosed = true
    this.#closedCount++
    if (!(view.keydir instanceof LostKeydir)) view.keydir.entries.unpin()
    this.#leave(place)
    for (let each = this.#open.length - 1; this.#closedCount > 0 && each >= 0; each--) {
      if (!this.#leave(each)) return
    }
  }

  /** Takes a view away that has been closed; answers false where there is no memory for what older ones need of it. */
  #leave(place: number): boolean {
    const closed = this.#open[place]
    if (closed === undefined || !closed.isClosed) return true
    const older = this.#open[place - 1]
    if (older?.keydir === closed.keydir && closed.layer !== undefined) {
      this.version++
      try {
        older.layer = joined(older.layer, closed.layer)
      } catch (error) {
        if (!(error instanceof NoMemory)) throw error
        return false
      }
    }
    this.#open.splice(place, 1)
    this.#closedCount--
    return true
  }

  /** Closes every view. */
  closeAll(): void {
    for (const view of [...this.#open]) this.close(view)
  }

  /** Saves what a change is about to replace; `entry` is the key's entry in the keydir, or none. */
  save(entry: Entry, key: Uint8Array, keySize: number): void {
    const newest = this.#open.at(-1)
    if (newest?.keydir !== this.#keydir) return
    this.version++
    newest.layer ??= createKeydir('btree')
    if (newest.layer.find(key, keySize) !== NO_ENTRY) return
    if (entry === NO_ENTRY) newest.layer.insert(key, keySize, 1, 0, 0, 0, 0)
    else copyEntry(this.#keydir, entry, newest.layer, key, keySize)
  }

  /** Takes what stands in the place of a keydir until that is loaded anew. */
  loseKeydir(lost: LostKeydir): void {
    for (const open of this.#open) if (open.keydir === this.#keydir) open.keydir = lost
    this.#keydir = lost
    this.version++
  }

  /** Takes another keydir with the same content: the one before was rebuilt. */
  replaceKeydir(keydir: Keydir): void {
    for (const open of this.#open) {
      if (open.keydir !== this.#keydir) continue
      open.keydir = keydir
      keydir.entries.pin()
    }
    this.#keydir = keydir
    this.version++
  }

  /** Ends the open views: what they show is not there any more. Each is to be closed as ever. */
  end(why: StoreError): void {
    for (const open of this.#open) open.ended ??= why
    this.version++
  }

  /** Takes another keydir with another content: open views stay on the one before. */
  moveOn(keydir: Keydir): void {
    this.#keydir = keydir
  }

  /** Finds a key as the view sees it. Expiry is not looked at. */
  find(view: View, key: Uint8Array, keySize: number, found: Found): boolean {
    if (view.ended !== undefined) throw view.ended
    for (const open of this.#open) {
      if (open.id < view.id || open.layer === undefined || open.keydir !== view.keydir) continue
      const entry = open.layer.find(key, keySize)
      if (entry === NO_ENTRY) continue
      found.keydir = open.layer
      found.entry = entry
      return open.layer.entries.sizeOf(entry) > 0
    }
    found.keydir = view.keydir
    found.entry = view.keydir.find(key, keySize)
    return found.entry !== NO_ENTRY
  }

  /** The keydirs that a view looks through, in order; valid while `version` stays. */
  sources(view: View): Keydir[] {
    if (view.ended !== undefined) throw view.ended
    const sources: Keydir[] = []
    for (const { id, keydir, layer } of this.#open) {
      if (id >= view.id && layer !== undefined && keydir === view.keydir) sources.push(layer)
    }
    sources.push(view.keydir)
    return sources
  }
}

/** How many entries a cursor takes ahead at first, where it is not known how many are wanted. */
const FIRST_AHEAD = 4

/** Called with entries that are about to be given. */
export type LookAhead = (keydir: Keydir, list: readonly Entry[], count: number) => void

/**
 * Walks the keys of a range as a view sees them, in order.
 *
 * Where no layer is in the way it takes entries ahead, more and more of them, and has them looked at; a change
 * of the keydir makes it forget what it took and find its place again.
 */
export class ViewCursor {
  /** The keydir of the entry that `next` gave last. */
  keydir: KnownKeydir
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
  #sources: Source[] = []
  #last: Found | undefined

  /** @param lookAhead called where entries are taken ahead of being asked for */
  constructor(views: Views, view: View, range: ResolvedRange, lookAhead: LookAhead) {
    this.#views = views
    this.#view = view
    this.#range = range
    this.#lookAhead = lookAhead
    this.#wanted = range.limit
    this.#aheadSize = range.limit === Number.POSITIVE_INFINITY ? FIRST_AHEAD : MAX_AHEAD
    this.#reseat()
    this.keydir = (this.#sources.at(-1) as Source).keydir
  }

  /** The next entry, of `this.keydir`, or {@link NO_ENTRY} at the end. */
  next(): Entry {
    for (;;) {
      if (this.#version !== this.#views.version) this.#reseat()
      const entry = this.#sources.length === 1 ? this.#nextAlone() : this.#nextOfAll()
      if (entry === NO_ENTRY) return NO_ENTRY
      const { entries } = this.keydir
      if (entries.sizeOf(entry) === 0) continue
      const expiresAtMs = entries.expiresAtOf(entry)
      if (expiresAtMs !== 0 && expiresAtMs <= this.#view.nowMs) continue
      // Not before it was looked at: of an entry that a damaged checkpoint has lost there is no key to find again.
      this.#remember(entry)
      return entry
    }
  }

  #nextAlone(): Entry {
    const source = this.#sources[0] as Source
    if (this.#aheadNext === this.#aheadCount) this.#takeAhead(source)
    if (this.#aheadCount === 0) return NO_ENTRY
    this.keydir = source.keydir
    this.place = this.#aheadNext++
    return this.ahead[this.place] as Entry
  }

  #takeAhead(source: Source): void {
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
    this.#lookAhead(source.keydir, ahead, count)
  }

  /** The lowest head of all; the first source that has it is right, the others step over it. */
  #nextOfAll(): Entry {
    let best: Source | undefined
    for (const source of this.#sources) {
      if (source.head === NO_ENTRY) continue
      if (best === undefined || this.#compare(source, best) < 0) best = source
    }
    if (best === undefined) return NO_ENTRY
    const { keydir, head } = best
    for (const source of this.#sources) {
      if (source !== best && source.head !== NO_ENTRY && this.#compare(source, best) === 0) {
        source.take()
      }
    }
    best.take()
    this.place = -1
    this.keydir = keydir
    return head
  }

  #compare(left: Source, right: Source): number {
    const key = right.keydir.entries.keyView(right.head)
    const order = left.keydir.entries.compareKey(left.head, key, key.length)
    return this.#range.reverse ? -order : order
  }

  #remember(entry: Entry): void {
    const { keydir } = this
    this.#last ??= { keydir, entry }
    this.#last.keydir = keydir
    this.#last.entry = entry
  }

  /** Finds its place again after a change. */
  #reseat(): void {
    this.#version = this.#views.version
    this.#aheadCount = 0
    this.#aheadNext = 0
    const cursors = new Map(this.#sources.map((source) => [source.keydir, source.cursor]))
    const last = this.#last
    const key = last?.keydir.entries.keyView(last.entry)
    this.#sources = this.#views.sources(this.#view).map((keydir) => {
      const cursor = cursors.get(keydir) ?? keydir.cursor(this.#range)
      if (key !== undefined) cursor.seekBeyond(key, key.length)
      return new Source(keydir, cursor)
    })
    if (key === undefined && cursors.size > 0) {
      // Nothing was given yet, but heads were taken: begin anew.
      this.#sources = this.#sources.map(
        ({ keydir }) => new Source(keydir, keydir.cursor(this.#range)),
      )
    }
    if (this.#sources.length > 1) for (const source of this.#sources) source.fill()
  }
}

/** One keydir that is walked, with the entry that comes next once it was looked at. */
class Source {
  readonly keydir: Keydir
  readonly cursor: KeydirCursor
  head: Entry = NO_ENTRY
  #filled = false

  constructor(keydir: Keydir, cursor: KeydirCursor) {
    this.keydir = keydir
    this.cursor = cursor
  }

  /** Looks at the next entry. */
  fill(): void {
    this.head = this.cursor.next()
    this.#filled = true
  }

  /** Gives the next entry and steps over it. */
  take(): Entry {
    if (!this.#filled) return this.cursor.next()
    const { head } = this
    this.head = this.cursor.next()
    return head
  }
}

function updateEntry({ entries }: Keydir, entry: Entry, to: Keydir, known: Entry): void {
  to.update(
    known,
    entries.segmentOf(entry),
    entries.offsetOf(entry),
    entries.sizeOf(entry),
    entries.sequenceOf(entry),
    entries.expiresAtOf(entry),
  )
}

function copyEntry(from: Keydir, entry: Entry, to: Keydir, key: Uint8Array, keySize: number): void {
  const { entries } = from
  to.insert(
    key,
    keySize,
    entries.segmentOf(entry),
    entries.offsetOf(entry),
    entries.sizeOf(entry),
    entries.sequenceOf(entry),
    entries.expiresAtOf(entry),
  )
}

/**
 * One layer of two, which are of no use after it: what the older one knows, and what only the newer one does. Where it
 * throws, the two still know together what they knew.
 *
 * The smaller one is added to the larger one: so however many views close in whatever order, an entry is copied
 * only some twenty times.
 */
function joined(older: Keydir | undefined, newer: Keydir): Keydir {
  if (older === undefined) return newer
  const [source, target] = older.size < newer.size ? [older, newer] : [newer, older]
  const walk = (entry: Entry): void => {
    const key = source.entries.keyView(entry)
    const known = target.find(key, key.length)
    if (known === NO_ENTRY) copyEntry(source, entry, target, key, key.length)
    else if (source === older) updateEntry(source, entry, target, known)
  }
  for (let place = 0; place !== -1; ) place = source.entries.walk(place, 1024, walk)
  return target
}
