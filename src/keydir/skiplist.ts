/**
 * The skip list keydir, off the JavaScript heap, after William Pugh, "Skip lists: a probabilistic
 * alternative to balanced trees" (1990), with one tower in four on each next level.
 *
 * A search goes along a level as long as the next key is below the one it searches for, then one
 * level down. It compares heads (towers.ts), and reads a key only if the heads are equal.
 *
 * Invariants
 * - `find` remembers the last tower before the key on each level, until the list changes; `insert`,
 *   `update` and `remove` of the same key continue from there.
 */

import { assert } from '../errors.ts'
import { NoMemory } from '../io/memory.ts'
import type { ChunkSource } from './arena.ts'
import { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { EntryIndex } from './entry-index.ts'
import type { KeydirCursor, KeydirImage, KeyRange } from './keydir.ts'
import { OrderedCursor } from './ordered-cursor.ts'
import { SearchKey } from './search-key.ts'
import { BASE, LEVEL_COUNT, type Tower, Towers } from './towers.ts'

const ENTRIES_ARENA = 0
const TOWERS_ARENA = 1

/** An ordered keydir in this project's own code; see the top of this file. */
export class SkiplistKeydir extends EntryIndex {
  readonly kind = 'skiplist'
  readonly ordered = true
  /** The towers, for the cursor. */
  readonly towers: Towers
  readonly #key = new SearchKey()

  /** The number of levels in use. */
  #height: number

  /** The last tower before the searched key on each level in use. */
  readonly #before = new Uint32Array(LEVEL_COUNT)
  #found: Entry = NO_ENTRY
  #remembered = false

  /** Creates an empty keydir, or one from restored parts. */
  constructor(entries = new Entries(), towers = new Towers(), height = 1) {
    super(entries)
    this.towers = towers
    this.#height = height
  }

  /**
   * Restores a keydir from its image, without touching a chunk.
   *
   * @throws RangeError if `image()` cannot have returned this `meta`
   */
  static restore(meta: unknown, source: ChunkSource): SkiplistKeydir {
    const image = (meta ?? {}) as Record<string, unknown>
    const entries = Entries.restore(image.entries, ENTRIES_ARENA, source)
    const towers = Towers.restore(image.towers, TOWERS_ARENA, source)
    const height = image.height as number
    if (!Number.isInteger(height) || height < 1 || height > LEVEL_COUNT) {
      throw new RangeError(`A skip list cannot have ${String(height)} levels`)
    }
    return new SkiplistKeydir(entries, towers, height)
  }

  get byteSize(): number {
    return this.entries.byteSize + this.towers.arena.byteSize
  }

  find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry {
    if (words === undefined) this.#key.set(key, keySize)
    else this.#key.setWords(words, 0, keySize)
    this.#search()
    return this.#found
  }

  insert(
    key: Uint8Array,
    keySize: number,
    segment: number,
    offset: number,
    size: number,
    sequence: number,
    expiresAtMs: number,
  ): Entry {
    if (!this.#remembered || !this.#key.holds(key, keySize)) this.find(key, keySize)
    assert(this.#found === NO_ENTRY, 'The key to insert is there')
    const entry = this.entries.allocate(this.#key, segment, offset, size, sequence, expiresAtMs)
    const towers = this.towers
    const before = this.#before
    const height = randomHeight()
    const tower = this.#build(entry, height)
    this.#remembered = false
    for (; this.#height < height; this.#height++) before[this.#height] = BASE
    const head = this.#key.head(0)
    for (let level = 0; level < height; level++) {
      const left = before[level] as number
      towers.link(tower, level, towers.next(left, level), towers.nextHead(left, level))
      towers.link(left, level, tower, head)
    }
    towers.setPrevious(tower, before[0] as number)
    towers.setPrevious(towers.next(tower, 0), tower)
    return entry
  }

  remove(entry: Entry): void {
    this.searchEntry(entry)
    this.#remembered = false
    const towers = this.towers
    const tower = towers.next(this.#before[0] as number, 0)
    towers.setPrevious(towers.next(tower, 0), towers.previous(tower))
    let height = 0
    for (; height < this.#height; height++) {
      const left = this.#before[height] as number
      if (towers.next(left, height) !== tower) break
      towers.link(left, height, towers.next(tower, height), towers.nextHead(tower, height))
    }
    towers.free(tower, height)
    this.entries.free(entry)
  }

  cursor(range: KeyRange): KeydirCursor {
    return new SkiplistCursor(this, range)
  }

  image(): KeydirImage {
    return {
      meta: {
        height: this.#height,
        entries: this.entries.meta(),
        towers: this.towers.meta(),
      },
      arenas: [this.entries.arena.image(), this.towers.arena.image()],
    }
  }

  release(): void {
    this.entries.arena.release()
    this.towers.arena.release()
  }

  /** Returns the last tower whose key is below `key`, or equals it if `inclusive`. */
  seek(key: Uint8Array, keySize: number, inclusive: boolean): Tower {
    const found = this.find(key, keySize) !== NO_ENTRY
    const before = this.#before[0] as number
    return found && inclusive ? this.towers.next(before, 0) : before
  }

  /** Creates a tower for an entry; frees the entry if there is no memory. */
  #build(entry: Entry, height: number): Tower {
    try {
      return this.towers.create(entry, height)
    } catch (error) {
      if (error instanceof NoMemory) this.entries.free(entry)
      throw error
    }
  }

  #search(): void {
    const { towers, entries } = this
    const key = this.#key
    const head = key.head(0)
    this.#found = NO_ENTRY
    let left: Tower = BASE
    // A tower known not to be below the key; the levels beneath lead to it again.
    let right: Tower = BASE
    for (let level = this.#height - 1; level >= 0; level--) {
      for (;;) {
        const next = towers.next(left, level)
        if (next === right) break
        const nextHead = towers.nextHead(left, level)
        if (nextHead >= head) {
          const order = nextHead > head ? 1 : entries.compareSearch(towers.entry(next), key, 0)
          if (order >= 0) {
            right = next
            if (order === 0) this.#found = towers.entry(next)
            break
          }
        }
        left = next
      }
      this.#before[level] = left
    }
    this.#remembered = true
  }

  protected override searchEntry(entry: Entry): SearchKey {
    if (this.#remembered && this.#found === entry) return this.#key
    this.entries.readSearch(entry, this.#key)
    this.#search()
    assert(this.#found === entry, 'The entry is not in the keydir')
    return this.#key
  }

  protected override replace(_entry: Entry, moved: Entry): void {
    this.towers.setEntry(this.towers.next(this.#before[0] as number, 0), moved)
    this.#found = moved
  }
}

/** Walks the lowest level of a skip list. A gap is the tower before it. */
class SkiplistCursor extends OrderedCursor {
  readonly #list: SkiplistKeydir
  #before: Tower = BASE
  #end: Tower = BASE

  constructor(list: SkiplistKeydir, range: KeyRange) {
    super(range)
    this.#list = list
    this.start()
  }

  protected override seek(key: Uint8Array, after: boolean): void {
    this.#before = this.#list.seek(key, key.length, after)
  }

  protected override seekEdge(last: boolean): void {
    this.#before = last ? this.#list.towers.previous(BASE) : BASE
  }

  protected override markEnd(): void {
    this.#end = this.#before
  }

  protected override stepForward(): Entry {
    if (this.#before === this.#end) return NO_ENTRY
    this.#before = this.#list.towers.next(this.#before, 0)
    return this.#list.towers.entry(this.#before)
  }

  protected override stepBackward(): Entry {
    if (this.#before === this.#end) return NO_ENTRY
    const entry = this.#list.towers.entry(this.#before)
    this.#before = this.#list.towers.previous(this.#before)
    return entry
  }
}

/** Returns one level, plus another with a chance of one in four, repeatedly. */
function randomHeight(): number {
  const zeros = Math.clz32((Math.random() * 2 ** 32) >>> 0)
  return Math.min(1 + (zeros >>> 1), LEVEL_COUNT)
}
