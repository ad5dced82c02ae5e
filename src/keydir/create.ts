/** Creates keydirs by kind. */

import type { KeydirKind } from '../format/keydir-kind.ts'
import type { ChunkSource } from './arena.ts'
import { BPlusTreeKeydir } from './bplustree.ts'
import { BTreeKeydir } from './btree.ts'
import { HashKeydir } from './hash.ts'
import type { Keydir } from './keydir.ts'
import { SkiplistKeydir } from './skiplist.ts'

/** Creates an empty keydir of a kind. */
export function createKeydir(kind: KeydirKind): Keydir {
  switch (kind) {
    case 'btree':
      return new BTreeKeydir()
    case 'hash':
      return new HashKeydir()
    case 'skiplist':
      return new SkiplistKeydir()
    case 'bplustree':
      return new BPlusTreeKeydir()
    default:
      throw new RangeError(`There is no keydir of kind ${String(kind)}`)
  }
}

/**
 * Restores a keydir from what its `image()` returned. The time does not depend on the number of
 * keys: a chunk is requested from `source` when it is first touched. The keydir then owns the
 * chunk's bytes and changes them in place. An error that `source` throws is thrown by whatever
 * touched the chunk; the keydir is of no use after it.
 *
 * @throws RangeError if `meta` is not from an image of this kind
 */
export function restoreKeydir(kind: KeydirKind, meta: unknown, source: ChunkSource): Keydir {
  switch (kind) {
    case 'btree':
      return BTreeKeydir.restore(meta, source)
    case 'hash':
      return HashKeydir.restore(meta, source)
    case 'skiplist':
      return SkiplistKeydir.restore(meta, source)
    default:
      throw new RangeError(`A keydir of kind ${kind} cannot be restored`)
  }
}
