/**
 * The default keydir: a B+tree off the JavaScript heap.
 *
 * The tree itself is in btree-nodes.ts. A `find` remembers its place there, and `insert`, `update`
 * and `remove` of the same key continue from it.
 */

import { assert } from '../errors.ts'
import type { ChunkSource } from './arena.ts'
import { BTreeCursor } from './btree-cursor.ts'
import { BTreeNodes } from './btree-nodes.ts'
import { Entries } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import { EntryIndex } from './entry-index.ts'
import type { KeydirCursor, KeydirImage, KeyRange } from './keydir.ts'
import type { SearchKey } from './search-key.ts'

/** The number of the entries' arena in an image; btree-nodes.ts has the others. */
const ENTRIES_ARENA = 0

/** The ordered keydir; see the top of this file. */
export class BTreeKeydir extends EntryIndex {
  readonly kind = 'btree'
  readonly ordered = true
  /** The tree over the entries. */
  readonly nodes: BTreeNodes

  /** Creates an empty keydir, or one from restored parts. */
  constructor(entries = new Entries(), nodes = new BTreeNodes(entries)) {
    super(entries)
    this.nodes = nodes
  }

  /**
   * Restores a keydir from its image, without touching a chunk.
   *
   * @throws RangeError if `image()` cannot have returned this `meta`
   */
  static restore(meta: unknown, source: ChunkSource): BTreeKeydir {
    const image = (meta ?? {}) as Record<string, unknown>
    const entries = Entries.restore(image.entries, ENTRIES_ARENA, source)
    return new BTreeKeydir(entries, BTreeNodes.restore(entries, image, source))
  }

  get byteSize(): number {
    return this.entries.byteSize + this.nodes.byteSize
  }

  find(key: Uint8Array, keySize: number, words?: Uint32Array): Entry {
    const { nodes } = this
    if (words === undefined) nodes.key.set(key, keySize)
    else nodes.key.setWords(words, 0, keySize)
    nodes.search()
    return nodes.found
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
    const { nodes } = this
    if (!nodes.remembers(key, keySize)) {
      nodes.key.set(key, keySize)
      nodes.search()
    }
    assert(nodes.found === NO_ENTRY, 'The key to insert is there')
    const entry = this.entries.allocate(nodes.key, segment, offset, size, sequence, expiresAtMs)
    nodes.insert(entry)
    return entry
  }

  remove(entry: Entry): void {
    this.nodes.searchEntry(entry)
    this.nodes.remove()
    this.entries.free(entry)
  }

  cursor(range: KeyRange): KeydirCursor {
    return new BTreeCursor(this.nodes, range)
  }

  image(): KeydirImage {
    return {
      meta: { ...this.nodes.meta(), entries: this.entries.meta() },
      arenas: [this.entries.arena.image(), ...this.nodes.images()],
    }
  }

  release(): void {
    this.entries.arena.release()
    this.nodes.release()
  }

  protected override searchEntry(entry: Entry): SearchKey {
    this.nodes.searchEntry(entry)
    return this.nodes.key
  }

  protected override replace(_entry: Entry, moved: Entry): void {
    this.nodes.replace(moved)
  }
}
