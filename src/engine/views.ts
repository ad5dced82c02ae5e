/**
 * Views show the store as of a moment, for snapshots and iterators.
 *
 * The keydir shows the present. While views are open, each change first saves what it replaces as a
 * *version* (versions.ts): the old location, or an absence if the key was not there. A view looks
 * among the versions first, then in the keydir.
 *
 * Invariants
 * - A key is saved at most once for each view: by the first change while that view is the newest.
 * - A version that no open view sees is taken out: a few with each change and each view that
 *   closes, and the rest in slices. When no view is open any more, all go at once.
 * - A segment that a version may point into is not deleted; see `oldestOpenId`.
 * - Nothing is staged while a view is opened, so whatever a view shows has been written. A group
 *   that fails takes back only what came later. What was saved of its keys is as it was before the
 *   group, and stays right.
 * - A view looks only among the versions of its own keydir: a read-only store that was loaded again
 *   has another.
 */

import { assert, type StoreError } from '../errors.ts'
import { NoMemory } from '../io/memory.ts'
import { Location } from '../keydir/entries.ts'
import { type Entry, type EntryHolder, type Keydir, NO_ENTRY } from '../keydir/keydir.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'
import type { Expiry } from '../segment/sweeps.ts'
import { LostKeydir } from './lost-keydir.ts'
import { NO_NODE, type Node, Versions } from './versions.ts'

/** The store as of the moment at which the view was opened. */
export interface View {
  readonly id: number
  /** Decides what had expired by then and is not shown. */
  readonly expiry: Expiry
}

/** A keydir with the versions that its views see. */
interface Line {
  keydir: Keydir
  /** Undefined if nothing has changed since views were opened. */
  versions: Versions | undefined
  openCount: number
  isTidying: boolean
}

interface OpenView extends View {
  readonly line: Line
  /** The reason why nothing of it can be shown any more. */
  ended: StoreError | undefined
  /**
   * The ring of versions that were saved while this view was the newest one, or a view that has
   * closed since was.
   */
  ring: Node
  /** The number of those versions, or more. */
  ringSize: number
}

/** An entry, and its holder. */
export interface FoundEntry {
  holder: EntryHolder
  entry: Entry
}

/** The number of doubtful versions to look at with each change, and each view that closes. */
const LOOKS_AT_ONCE = 8
/** The most versions moved in one go, which takes some milliseconds. */
const MOST_AT_ONCE = 4096
/** The number of versions to look at between two looks at the clock. */
const LOOKS_PER_STEP = 32

/** The location of a key that is not there, in some segment. */
const ABSENCE: Readonly<Location> = Object.assign(new Location(), { segment: 1 })
/** The location that is being saved. */
const replaced = new Location()

/** The open views of a store. */
export class Views {
  /** Goes up whenever the keydir or the versions change while views are open. */
  version = 0
  #line: Line
  #nextId = 1
  /** The open views, oldest first. */
  readonly #open: OpenView[] = []

  constructor(keydir: Keydir) {
    this.#line = lineOf(keydir)
  }

  get openCount(): number {
    return this.#open.length
  }

  /** The id of the oldest open view; infinite if none is open. */
  get oldestOpenId(): number {
    return this.#open[0]?.id ?? Number.POSITIVE_INFINITY
  }

  /** The id that the next view gets. */
  get nextId(): number {
    return this.#nextId
  }

  /** Opens a view of the present. Nothing may be staged; see `Engine.openView`. */
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

  /** Takes a stand-in for the keydir until that is loaded again. */
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

  /** Ends the open views, because what they show is gone. Each still has to be closed. */
  end(why: StoreError): void {
    for (const open of this.#open) open.ended ??= why
    this.version++
  }

  /** Takes another keydir with other content. Open views stay on the one before. */
  moveOn(keydir: Keydir): void {
    this.#line = lineOf(keydir)
  }

  /**
   * Returns the keydir that a view looks into after the versions. @throws {@link StoreError} saying
   * why nothing of the view can be shown any more
   */
  keydirOf(view: View): Keydir {
    return shown(view).keydir
  }

  /**
   * Returns the versions of the view's keydir if the view may see any of them; valid until
   * `version` changes.
   */
  versionsOf(view: View): Versions | undefined {
    const { versions } = shown(view)
    return versions !== undefined && versions.highestMark >= view.id ? versions : undefined
  }

  /** Finds a key as the view sees it, expired or not. */
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

  /**
   * Hands the versions of a view that closes to the next older view, whose versions may make some
   * of them useless.
   */
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

  /** Takes out the versions that nobody sees, slice by slice. */
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

  /**
   * Gives back the memory of versions that were taken out, if that is worth it and takes only a
   * moment.
   */
  #shrink(line: Line): void {
    const { versions } = line
    if (versions === undefined || !versions.isSparse || versions.size > MOST_AT_ONCE) return
    const rings = new Map<OpenView, { ring: Node; ringSize: number }>()
    let fresh: Versions
    try {
      fresh = this.#copyOf(versions, rings)
    } catch (error) {
      // The present versions serve as well.
      if (error instanceof NoMemory) return
      throw error
    }
    for (const open of this.#open) {
      if (open.line === line) Object.assign(open, rings.get(open) ?? { ring: NO_NODE, ringSize: 0 })
    }
    line.versions = fresh
    this.version++
  }

  /** Copies the versions into memory of their own; fills in the rings that the views have there. */
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
      // The version was in a ring before.
      assert(owner.ring !== NO_NODE, 'Whoever sees a version has a ring')
      owner.ringSize++
      return owner.ring
    }
    // Cursors have to find their places again.
    if (versions.lookAt(count, isSeen, ringOf) > 0) this.version++
  }

  /** Returns the newest view that sees a version with this mark; some view must see it. */
  #ownerOf(mark: number): OpenView {
    const owner = this.#open[this.#countUpTo(mark) - 1]
    assert(owner !== undefined, 'Somebody sees the version')
    return owner
  }

  /** Returns how many open views have ids up to this one. */
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

/**
 * Returns the line of a view. @throws {@link StoreError} saying why nothing of it can be shown any
 * more
 */
function shown(view: View): Line {
  // Safety: every view was made by `open`.
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
  if (entry === NO_ENTRY) to.save(ring, id, key, keySize, ABSENCE, 0)
  else {
    entries.locate(entry, replaced)
    to.save(ring, id, key, keySize, replaced, entries.expiresAtOf(entry))
  }
}
