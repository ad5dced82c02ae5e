/** The separators between the nodes of the B+tree. */

import { Arena, CHUNK_MASK, type ChunkSource } from './arena.ts'
import { CLASS_LIMIT, FreeLists } from './free-lists.ts'
import { compareKeys, keyHead, keyWords, sharedSize } from './key-words.ts'
import type { SearchKey } from './search-key.ts'

const IN_CHUNK = CHUNK_MASK

const KEY = 1

/** The number of a separator, or {@link NO_SEPARATOR} if a node has no neighbour on that side. */
export type Separator = number

/** Stands for the fence that an outermost node does not have. */
export const NO_SEPARATOR = 0

/** The figures that `Separators` needs besides its arena to be restored; plain JSON. */
interface SeparatorsMeta {
  readonly used: number
  readonly free: readonly (readonly number[])[]
}

/**
 * The separators of a B+tree: byte strings between the keys of two neighbouring nodes. Each takes a
 * word for its size, and its bytes padded to words; a free one links through word 1.
 */
export class Separators {
  readonly arena: Arena
  readonly #free: FreeLists

  constructor(arena?: Arena, free?: FreeLists) {
    this.arena = arena ?? new Arena()
    this.#free = free ?? new FreeLists(this.arena, KEY)
  }

  /** Restores separators without touching a chunk; throws a RangeError if the meta is invalid. */
  static restore(meta: unknown, arena: number, source: ChunkSource): Separators {
    const { used, free } = (meta ?? {}) as Record<string, unknown>
    const restored = Arena.restore(used, arena, source)
    return new Separators(restored, FreeLists.restore(restored, KEY, free, CLASS_LIMIT - 1))
  }

  /** Returns what `restore` needs besides the arena. */
  meta(): SeparatorsMeta {
    return { used: this.arena.used, free: this.#free.image() }
  }

  /** Adds the separator that is the first `size` bytes of `key`. */
  add(key: SearchKey, size: number): Separator {
    // Number 0 is not a separator, so the first word is never used.
    if (this.arena.used === 0) this.arena.reserve(1)
    const count = keyWords(size)
    let separator = this.#free.take(KEY + count)
    if (separator === 0) separator = this.arena.reserve(KEY + count)
    const words = this.arena.chunkAt(separator)
    const at = separator & IN_CHUNK
    words[at] = size
    words[at + count] = 0
    const bytes = this.arena.bytesAt(separator)
    const source = key.bytes
    const start = (at + KEY) * 4
    for (let i = 0; i < size; i++) bytes[start + i] = source[i] as number
    return separator
  }

  /** Frees a separator. */
  free(separator: Separator): void {
    const size = this.arena.chunkAt(separator)[separator & IN_CHUNK] as number
    this.#free.give(KEY + keyWords(size), separator)
  }

  /**
   * Compares a separator with the key being searched for; the first `from` words are known to be
   * equal.
   */
  compareSearch(separator: Separator, key: SearchKey, from: number): number {
    const words = this.arena.chunkAt(separator)
    const at = separator & IN_CHUNK
    return compareKeys(words, at + KEY, words[at] as number, key.words, 0, key.size, from)
  }

  /** Returns how many bytes two separators share from their start. */
  sharedSize(a: Separator, b: Separator): number {
    const aWords = this.arena.chunkAt(a)
    const bWords = this.arena.chunkAt(b)
    const aAt = a & IN_CHUNK
    const bAt = b & IN_CHUNK
    const aSize = aWords[aAt] as number
    return sharedSize(aWords, aAt + KEY, aSize, bWords, bAt + KEY, bWords[bAt] as number)
  }

  /**
   * Returns how many bytes a separator shares with the key being searched for, from their start.
   */
  sharedWithSearch(separator: Separator, key: SearchKey): number {
    const words = this.arena.chunkAt(separator)
    const at = separator & IN_CHUNK
    return sharedSize(words, at + KEY, words[at] as number, key.words, 0, key.size)
  }

  /** Returns the head after the first `prefix` bytes; see {@link keyHead}. */
  headOf(separator: Separator, prefix: number): number {
    const words = this.arena.chunkAt(separator)
    const at = separator & IN_CHUNK
    return keyHead(words, at + KEY, words[at] as number, prefix)
  }
}
