/**
 * The towers of the skip list, one for each entry, of `2 + 2 * height` words:
 *
 *     0      entry; 0 in the base
 *     1      previous tower in key order; in a free tower, the next free one
 *     2…     for each level from the lowest: the next tower, and the head of its key
 *
 * Tower 0 is the base, which has all levels and no key; as a next tower, 0 is the end. A head is
 * the first 31 bits of a key. It lies with the link that leads to the key, so that a search reads a
 * tower only to go on from it.
 *
 * Invariants
 * - If the next tower is the end, the head is NO_HEAD.
 */

import { Arena, CHUNK_MASK, type ChunkSource } from './arena.ts'
import type { Entry } from './entry.ts'
import { FreeLists } from './free-lists.ts'
import { NO_HEAD } from './heads.ts'

const IN_CHUNK = CHUNK_MASK

const ENTRY = 0
const PREVIOUS = 1
const LEVELS = 2
const LEVEL_WORDS = 2

/**
 * The number of levels of the base: with one tower in four on the next level, enough for 4^16
 * entries.
 */
export const LEVEL_COUNT = 16

/** The number of a tower: its position. */
export type Tower = number

/** The tower before all others; as a next tower, the end. */
export const BASE = 0

/** The figures that `Towers` needs besides its arena to be restored; plain JSON. */
interface TowersMeta {
  readonly used: number
  readonly free: readonly (readonly number[])[]
}

/** The towers of a skip list: entries linked in key order on one level or more. */
export class Towers {
  readonly arena: Arena
  readonly #free: FreeLists

  constructor(arena?: Arena, free?: FreeLists) {
    this.arena = arena ?? new Arena()
    this.#free = free ?? new FreeLists(this.arena, PREVIOUS)
    if (arena === undefined) {
      this.arena.reserve(LEVELS + LEVEL_COUNT * LEVEL_WORDS)
      for (let level = 0; level < LEVEL_COUNT; level++) this.link(BASE, level, BASE, NO_HEAD)
    }
  }

  /** Restores towers without touching a chunk; throws a RangeError if the meta is invalid. */
  static restore(meta: unknown, arena: number, source: ChunkSource): Towers {
    const { used, free } = (meta ?? {}) as Record<string, unknown>
    const restored = Arena.restore(used, arena, source)
    if (restored.used < LEVELS + LEVEL_COUNT * LEVEL_WORDS) {
      throw new RangeError('The base of a skip list is cut short')
    }
    return new Towers(restored, FreeLists.restore(restored, PREVIOUS, free))
  }

  /** Returns what `restore` needs besides the arena. */
  meta(): TowersMeta {
    return { used: this.arena.used, free: this.#free.image() }
  }

  /** Creates a tower; its links are set by `link`. */
  create(entry: Entry, height: number): Tower {
    const tower = this.#free.take(height) || this.arena.reserve(LEVELS + height * LEVEL_WORDS)
    this.setEntry(tower, entry)
    return tower
  }

  /** Frees a tower that no link leads to. */
  free(tower: Tower, height: number): void {
    this.#free.give(height, tower)
  }

  /** Returns the entry of a tower. */
  entry(tower: Tower): Entry {
    return this.#get(tower, ENTRY)
  }

  /** Replaces the entry of a tower by another one of the same key. */
  setEntry(tower: Tower, entry: Entry): void {
    this.#set(tower, ENTRY, entry)
  }

  /** Returns the previous tower in key order; for the base, the last tower. */
  previous(tower: Tower): Tower {
    return this.#get(tower, PREVIOUS)
  }

  /** Sets the previous tower. */
  setPrevious(tower: Tower, previous: Tower): void {
    this.#set(tower, PREVIOUS, previous)
  }

  /** Returns the next tower on a level. */
  next(tower: Tower, level: number): Tower {
    return this.#get(tower, LEVELS + level * LEVEL_WORDS)
  }

  /** Returns the head of the next tower's key. */
  nextHead(tower: Tower, level: number): number {
    return this.#get(tower, LEVELS + level * LEVEL_WORDS + 1)
  }

  /** Sets the next tower on a level, and the head of its key. */
  link(tower: Tower, level: number, next: Tower, head: number): void {
    this.#set(tower, LEVELS + level * LEVEL_WORDS, next)
    this.#set(tower, LEVELS + level * LEVEL_WORDS + 1, head)
  }

  #get(tower: Tower, index: number): number {
    return this.arena.chunkAt(tower)[(tower & IN_CHUNK) + index] as number
  }

  #set(tower: Tower, index: number, value: number): void {
    this.arena.chunkAt(tower)[(tower & IN_CHUNK) + index] = value
  }
}
