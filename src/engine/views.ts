/**
 * Views: the store as of a moment, for snapshots and iterators.
 *
 * The keydir shows the present. While views are open, each change first saves what it replaces, the old location, or an
 * absence where the key was not there, as a *version*: see versions.ts. A view looks among the versions, then in the
 * keydir; the first that knows the key is right.
 *
 * Invariants
 * - A key is saved once for each view at most: by the first change while that view is the newest.
 * - What no open view sees is taken out: a few versions with each change and each view that closes, and the rest in
 *   slices of the event loop's turns. Where no view is open any more all go at once.
 * - A segment that a version may point into is not deleted: see `oldestOpenId`.
 * - Nothing is staged while a view is opened, so that whatever a view shows has been written: a group that fails takes
 *   back only what came after. What was saved of its keys is as it was before the group, and stays right.
 * - A view looks only among the versions of its own keydir: a read-only store that was loaded anew has another.
 */

import assert from 'node:assert/strict'
import type { StoreError } from '../errors.ts'
import { NoMemory } from '../io/memory.ts'
import { type Entry, type EntryHolder, type Keydir, NO_ENTRY } from '../keydir/keydir.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import type { Expiry } from '../segment/sweeps.ts'
import { LostKeydir } from './lost-keydir.ts'
import { NO_NODE, type Node, Versions } from './versions.ts'

/** The store as of the moment at which the view was opened. */
export interface View {
  readonly id: number
  /** What had expired by then is not there. */
  readonly expiry: Expiry
}

/** A keydir with the versions that the views of it see. */
interface Line {
  keydir: Keydir
  /** None where nothing has changed since views were opened. */
  versions: Versions | undefined
  openCount: number
  isTidying: boolean
}

interface OpenView extends View {
  readonly line: Line
  /** Why nothing of it can be shown any more. */
  ended: StoreError | undefined
  /** The versions that were saved while it was the newest view, or one was that has been closed since. */
  ring: Node
  /** How many these are, or more. */
  ringSize: number
}

/** An entry, and what holds it. */
export interface FoundEntry {
  holder: EntryHolder
  entry: Entry
}

/** What may be useless of the versions: so much is looked at with each change, and each view that closes. */
const LOOKS_AT_ONCE = 8
/** Up to so many versions are moved in one go: that takes some milliseconds. */
const MOST_AT_ONCE = 4096
/** Between two looks at the clock. */
const LOOKS_PER_STEP = 32

/** The open views of a store. */
export class Views {
  /** Goes up whenever the keydir or the versions change while views are open. */
  version = 0
  #line: Line
  #nextId = 1
  /** Oldest first. */
  readonly #open: OpenView[] = []

  constructor(keydir: Keydir) {
    this.#line = lineOf(keydir)
  }

  get openCount(): number {
    return this.#open.length
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
  open(expiry: Expiry): View {
    const line = this.#line
    line.keydir.entries.pin()
    line.openCount++
    const id = this.#nextId++
    const view: OpenView = { id, expiry, line, ended: undefined, ring: NO_NODE, ringSize: 0 }
    this.#open.push(view)
    return view
  }

  /** Closes a view; idempotent. */
  close(view: View): void {
    const place = this.#countUpTo(view.id) - 1
    const closing = this.#open[place]
    if (closing?.id !== view.id) return
    this.#open.splice(place, 1)
    const { line } = closing
    line.openCount--
    if (!(line.keydir instanceof LostKeydir)) line.keydir.entries.unpin()
    if (line.openCount === 0) line.versions = undefined
    else if (closing.ring !== NO_NODE) this.#passOn(closing, this.#open[place - 1])
  }

  /** Closes every view. */
  closeAll(): void {
    for (const view of [...this.#open]) this.close(view)
  }

  /** Saves what a change is about to replace; `entry` is the key's entry in the keydir, or none. */
  save(entry: Entry, key: Uint8Array, keySize: number): void {
    const line = this.#line
    const newest = this.#open.at(-1)
    if (newest?.line !== line) return
    this.version++
    line.versions ??= new Versions()
    const { versions } = line
    if (versions.find(key, keySize, newest.id) !== NO_NODE) return
    if (newest.ring === NO_NODE) newest.ring = versions.ring()
    saveEntry(line.keydir, entry, versions, newest, key, keySize)
    newest.ringSize++
    if (versions.hasDoubts) this.#lookAt(line, versions, LOOKS_AT_ONCE)
  }

  /** Takes what stands in the place of a keydir until that is loaded anew. */
  loseKeydir(lost: LostKeydir): void {
    this.#line.keydir = lost
    this.version++
  }

  /** Takes another keydir with the same content: the one before was rebuilt. */
  replaceKeydir(keydir: Keydir): void {
    const line = this.#line
    line.keydir = keydir
    for (let count = line.openCount; count > 0; count--) keydir.entries.pin()
    this.version++
  }

  /** Ends the open views: what they show is not there any more. Each is to be closed as ever. */
  end(why: StoreError): void {
    for (const open of this.#open) open.ended ??= why
    this.version++
  }

  /** Takes another keydir with another content: open views stay on the one before. */
  moveOn(keydir: Keydir): void {
    this.#line = lineOf(keydir)
  }

  /** What a view looks into behind the versions. @throws {@link StoreError} why nothing of it can be shown any more */
  keydirOf(view: View): Keydir {
    return shown(view).keydir
  }

  /** The versions of its keydir, where any of them is for this view; valid while `version` stays. */
  versionsOf(view: View): Versions | undefined {
    const { versions } = shown(view)
    return versions !== undefined && versions.highestMark >= view.id ? versions : undefined
  }

  /** Finds a key as the view sees it. Expiry is not looked at. */
  find(view: View, key: Uint8Array, keySize: number, found: FoundEntry): boolean {
    const { keydir, versions } = shown(view)
    const node = versions === undefined ? NO_NODE : versions.find(key, keySize, view.id)
    if (versions === undefined || node === NO_NODE) {
      found.holder = keydir
      found.entry = keydir.find(key, keySize)
      return found.entry !== NO_ENTRY
    }
    found.holder = versions
    found.entry = versions.entry(node)
    return versions.entries.sizeOf(found.entry) > 0
  }

  /** Hands what was saved for a view that closes to the next older one, which may have what makes some of it useless. */
  #passOn(closing: OpenView, before: OpenView | undefined): void {
    const { line, ring, ringSize } = closing
    const { versions } = line
    assert(versions !== undefined, 'Versions were saved')
    const older = before?.line === line ? before : undefined
    if (older === undefined || older.ringSize >= ringSize) {
      versions.doubt(ring)
    } else {
      if (older.ring !== NO_NODE) versions.doubt(older.ring)
      older.ring = ring
      older.ringSize = ringSize
    }
    this.#lookAt(line, versions, LOOKS_AT_ONCE)
    if (versions.hasDoubts && !line.isTidying) void this.#tidy(line)
  }

  /** Takes out what nobody sees, slice by slice. */
  async #tidy(line: Line): Promise<void> {
    line.isTidying = true
    const slice = new TimeSlice()
    await slice.next()
    while (line.versions?.hasDoubts) {
      this.#lookAt(line, line.versions, LOOKS_PER_STEP)
      if (slice.isOver()) await slice.next()
    }
    line.isTidying = false
    this.#shrink(line)
  }

  /** Gives back the memory of versions that were taken out, where that is worth it and takes a moment only. */
  #shrink(line: Line): void {
    const { versions } = line
    if (versions === undefined || !versions.isSparse || versions.size > MOST_AT_ONCE) return
    const rings = new Map<OpenView, { ring: Node; ringSize: number }>()
    let fresh: Versions
    try {
      fresh = this.#copyOf(versions, rings)
    } catch (error) {
      // The present ones serve as well.
      if (error instanceof NoMemory) return
      throw error
    }
    for (const open of this.#open) {
      if (open.line === line) Object.assign(open, rings.get(open) ?? { ring: NO_NODE, ringSize: 0 })
    }
    line.versions = fresh
    this.version++
  }

  /** The same versions in memory of their own; fills in the rings that views have there. */
  #copyOf(versions: Versions, rings: Map<OpenView, { ring: Node; ringSize: number }>): Versions {
    const fresh = new Versions()
    for (const node of versions.byMark()) {
      const id = versions.mark(node)
      const owner = this.#ownerOf(id)
      const its = rings.get(owner) ?? { ring: fresh.ring(), ringSize: 0 }
      rings.set(owner, its)
      its.ringSize++
      const entry = versions.entry(node)
      const key = versions.entries.keyView(entry)
      fresh.find(key, key.length, id)
      saveEntry(versions, entry, fresh, { ring: its.ring, id }, key, key.length)
    }
    return fresh
  }

  #lookAt(line: Line, versions: Versions, count: number): void {
    const isSeen = (above: number, upTo: number): boolean => {
      const newest = this.#open[this.#countUpTo(upTo) - 1]
      return newest?.line === line && newest.id > above
    }
    const ringOf = (mark: number): Node => {
      const owner = this.#ownerOf(mark)
      // What it has been handed was in a ring.
      assert(owner.ring !== NO_NODE, 'Whoever sees a version has a ring')
      owner.ringSize++
      return owner.ring
    }
    // Cursors have to find their places again.
    if (versions.lookAt(count, isSeen, ringOf) > 0) this.version++
  }

  /** The newest view that sees a version with a mark, of those that somebody sees. */
  #ownerOf(mark: number): OpenView {
    const owner = this.#open[this.#countUpTo(mark) - 1]
    assert(owner !== undefined, 'Somebody sees the version')
    return owner
  }

  /** How many open views have ids up to this one. */
  #countUpTo(id: number): number {
    let low = 0
    let high = this.#open.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#open[middle] as OpenView).id <= id) low = middle + 1
      else high = middle
    }
    return low
  }
}

function lineOf(keydir: Keydir): Line {
  return { keydir, versions: undefined, openCount: 0, isTidying: false }
}

/** The line of a view. @throws {@link StoreError} why nothing of it can be shown any more */
function shown(view: View): Line {
  // Safety: every view is one that `open` has made.
  const { line, ended } = view as OpenView
  if (ended !== undefined) throw ended
  return line
}

function saveEntry(
  { entries }: EntryHolder,
  entry: Entry,
  to: Versions,
  { ring, id }: Pick<OpenView, 'ring' | 'id'>,
  key: Uint8Array,
  keySize: number,
): void {
  if (entry === NO_ENTRY) to.save(ring, id, key, keySize, 1, 0, 0, 0, 0)
  else {
    to.save(
      ring,
      id,
      key,
      keySize,
      entries.segmentOf(entry),
      entries.offsetOf(entry),
      entries.sizeOf(entry),
      entries.sequenceOf(entry),
      entries.expiresAtOf(entry),
    )
  }
}
