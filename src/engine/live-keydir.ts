/**
 * The keydir in use, with the segments that it points into and the views of it.
 *
 * A keydir restored from a checkpoint is read as it is needed, so any use of it may find damage.
 * Whoever finds it loads another keydir from all that was written or staged, and tries once more.
 * The methods here do so by themselves. Callers that use `keydir` directly do it through `reload`.
 *
 * Invariants
 * - Nothing changes or writes the keydir before all of it was read; see `wholeKeydir`.
 * - A keydir that is half changed is never shown. If it cannot be loaded again, a `LostKeydir`
 *   takes its place, the store is poisoned, and each use tries again.
 */

import { assert, type StoreError } from '../errors.ts'
import type { Page } from '../format/record.ts'
import { NoMemory } from '../io/memory.ts'
import type { Entry, Keydir, KnownKeydir } from '../keydir/keydir.ts'
import { isSparse, repacked } from '../keydir/repack.ts'
import { type ChunkReader, DamagedCheckpoint } from '../recovery/checkpoint-file.ts'
import { reloadKeydir } from '../recovery/load-keydir.ts'
import type { Recovered } from '../recovery/recovery.ts'
import type { Segments } from '../segment/segments.ts'
import { KeydirLost, LostKeydir } from './lost-keydir.ts'
import type { ResolvedRange } from './range.ts'
import { type LookAhead, ViewCursor } from './view-cursor.ts'
import { type FoundEntry, type View, Views } from './views.ts'

/** The parts of the engine that a live keydir depends on. */
interface KeydirOwner {
  /** The records that are staged and not in a segment yet: `page` up to `stagedSize`. */
  staged(): { readonly page: Page; readonly stagedSize: number }
  /** Poisons the store, and returns the error for its callers. */
  poison(cause: unknown, message: string): StoreError
  /** The checkpoint was damaged or unreadable, and the keydir was loaded without it. */
  reloaded(why: StoreError): void
}

/**
 * Larger than any place in a keydir. The place of a walk says which keydir it is in by a multiple
 * of this.
 */
const PLACES = 2 ** 32
/** The most keys moved at once, which takes some milliseconds. */
const MOST_AT_ONCE = 10_000

/** The keydir in use. */
export class LiveKeydir {
  readonly views: Views
  readonly #owner: KeydirOwner
  #segments: Segments
  #keydir: Keydir
  /** Counts how often the keydir was replaced. */
  #number = 0
  /** Reads the parts of the keydir that nobody has needed yet. */
  #chunks: ChunkReader | undefined

  constructor({ keydir, segments, chunks }: Recovered, owner: KeydirOwner) {
    this.views = new Views(keydir)
    this.#owner = owner
    this.#segments = segments
    this.#keydir = keydir
    this.#chunks = chunks
  }

  get segments(): Segments {
    return this.#segments
  }

  get keydir(): KnownKeydir {
    return this.#keydir
  }

  /** The keydir for a caller that passes every error of it to `mend` or `reload`. */
  get unguarded(): Keydir {
    return this.#keydir
  }

  /** Whether all of the keydir is in memory, so that it can no longer turn out to be damaged. */
  get isWhole(): boolean {
    return this.#chunks?.isDone ?? true
  }

  /**
   * The keydir for a caller that changes or writes it past the engine. Call `readMore` until it
   * returns true first.
   */
  get wholeKeydir(): Keydir {
    assert(this.isWhole, 'Some of the keydir was not read yet')
    return this.#keydir
  }

  /**
   * Reads more of the keydir that still lies in a checkpoint, for some milliseconds. If the
   * checkpoint is damaged, loads another keydir. Returns whether nothing is left to read.
   */
  readMore(): boolean {
    try {
      this.#chunks?.readMore()
    } catch (error) {
      this.reload(error)
    }
    return this.isWhole
  }

  /** Whether any entry expires at some time. */
  mayExpire(): boolean {
    try {
      return this.#keydir.entries.expiringCount > 0
    } catch (error) {
      this.reload(error)
      return this.#keydir.entries.expiringCount > 0
    }
  }

  /** Finds a key, whether it has expired or not. */
  find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry {
    try {
      return this.#keydir.find(key, keySize, words)
    } catch (error) {
      this.reload(error)
      return this.#keydir.find(key, keySize, words)
    }
  }

  /** Whether an entry that was returned some time ago is still in use. */
  isLive(entry: Entry): boolean {
    try {
      return this.#keydir.entries.isLive(entry)
    } catch (error) {
      this.reload(error)
      // Entries have other numbers now.
      return false
    }
  }

  /** Opens a view as of `nowMs`. Nothing may be staged. */
  openView(nowMs: number): View {
    const { sweeps } = this.#segments
    return this.#retrying(() => this.views.open({ nowMs, sweeps }))
  }

  /** Finds a key as a view sees it. */
  findIn(view: View, key: Uint8Array, keySize: number, found: FoundEntry): boolean {
    return this.#retrying(() => this.views.find(view, key, keySize, found))
  }

  /** Returns a cursor over a range of a view. */
  cursor(view: View, range: ResolvedRange, lookAt: LookAhead): ViewCursor {
    return this.#retrying(() => new ViewCursor(this.views, view, range, lookAt))
  }

  /** Returns the cursor's next entry. */
  advance(cursor: ViewCursor): Entry {
    try {
      return cursor.next()
    } catch (error) {
      this.reload(error)
      return cursor.next()
    }
  }

  /**
   * Visits entries of the keydir from `place` on; see `Entries.walk`. If the keydir is replaced
   * meanwhile, the walk ends and must begin again: a place returned before is taken for the
   * beginning of the other keydir.
   */
  walk(place: number, limit: number, visit: (entry: Entry) => void): number {
    const keydir = this.#keydir
    const first = this.#number * PLACES
    const isOfThis = place >= first && place < first + PLACES
    try {
      const next = keydir.entries.walk(isOfThis ? place - first : 0, limit, (entry) => {
        if (this.#keydir === keydir) visit(entry)
      })
      if (this.#keydir !== keydir) return 0
      return next === -1 ? -1 : next + first
    } catch (error) {
      this.reload(error)
      return 0
    }
  }

  /**
   * Loads the keydir again after it was found to be damaged or lost. @throws `error` if it is about
   * something else
   */
  reload(error: unknown): void {
    if (!isLost(error)) throw error
    this.rebuild()
    if (error instanceof DamagedCheckpoint) this.#owner.reloaded(error.told)
  }

  /**
   * Loads the keydir again, from all that the segments of the set hold and what is staged. If that
   * fails the store is poisoned; each read tries once more.
   *
   * @throws {@link StoreError} FIRKIN_POISONED
   */
  rebuild(): void {
    const { page, stagedSize } = this.#owner.staged()
    const { kind } = this.#keydir
    try {
      this.#take(reloadKeydir(this.#segments, kind, page, stagedSize))
    } catch (error) {
      const why = 'The keydir was lost and could not be rebuilt; open the store again to write'
      const poison = this.#owner.poison(error, why)
      const lost = new LostKeydir(this.#keydir, error)
      this.#keydir = lost
      this.#number++
      this.views.loseKeydir(lost)
      throw poison
    }
    this.views.replaceKeydir(this.#keydir)
  }

  /** Loads the keydir again, whatever was wrong with it. @throws as `rebuild` */
  replace(error: unknown): void {
    if (isLost(error)) this.reload(error)
    else this.rebuild()
  }

  /** As {@link replace}, but leaves it to the next read if that fails. */
  replaceIfPossible(error: unknown): void {
    try {
      this.replace(error)
    } catch {
      // The store is poisoned by now, and has reported why.
    }
  }

  /**
   * Makes the keydir sound after a change of it has failed: as it was before, or loaded again.
   * Returns if it was loaded again because it was damaged, so that the change has to be made in the
   * new one.
   *
   * @throws `error` if the keydir is not to blame
   */
  mend(error: unknown): void {
    if (isLost(error)) {
      this.reload(error)
      return
    }
    // A change that lacks memory is never begun. Anything else may have failed in the middle of
    // one.
    if (!(error instanceof NoMemory)) this.replaceIfPossible(error)
    throw error
  }

  /**
   * Gives back the memory of removed entries, step by step, if that is worth it. Nothing may write
   * meanwhile. Open views continue with the new keydir, and cursors find their place in it.
   */
  *shrink(): Generator<void, void> {
    const keydir = this.#keydir
    if (!isSparse(keydir)) return
    try {
      const fresh = yield* repacked(keydir)
      if (this.#keydir !== keydir) return
      this.#take(fresh)
      this.views.replaceKeydir(fresh)
      // A cursor may still read the key that it returned last.
      if (this.views.openCount === 0) keydir.release()
    } catch (error) {
      // If there is no memory for a smaller one, the present one serves.
      if (error instanceof NoMemory) return
      // A keydir that is loaded again is as small.
      this.reload(error)
    }
  }

  /** As {@link shrink}, at once, if that takes only a moment. */
  shrinkNow(): void {
    if (this.#keydir.size > MOST_AT_ONCE) return
    for (const _ of this.shrink());
  }

  /** Reads everything that is left in a checkpoint. */
  readAll(): void {
    try {
      this.#keydir.image()
    } catch (error) {
      this.reload(error)
    }
  }

  /** Takes what a read-only store has loaded in the place of what it showed. */
  install({ segments, keydir, chunks, report }: Recovered): void {
    this.#segments = segments
    this.#keydir = keydir
    this.#number++
    this.#chunks = chunks
    this.views.moveOn(keydir)
    if (report.checkpointFault !== undefined) this.#owner.reloaded(report.checkpointFault)
  }

  /** Frees the keydir's memory. */
  release(): void {
    this.#keydir.release()
  }

  /** Returns what `use` does, tried once more with another keydir if this one is damaged. */
  #retrying<T>(use: () => T): T {
    try {
      return use()
    } catch (error) {
      this.reload(error)
      return use()
    }
  }

  /** Takes another keydir, all of which is in memory. */
  #take(keydir: Keydir): void {
    this.#keydir = keydir
    this.#number++
    this.#chunks?.close()
    this.#chunks = undefined
  }
}

/** Whether a keydir is of no use any more, and is to be loaded again. */
function isLost(error: unknown): boolean {
  return error instanceof DamagedCheckpoint || error instanceof KeydirLost
}
