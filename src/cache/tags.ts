/**
 * Tags, under which entries are invalidated together in constant time.
 *
 * Invalidating a tag puts an empty record under the tag's own key. An entry with that tag is valid if its record's
 * sequence is higher than that one's: so the log itself counts the generations, and they survive what it survives.
 *
 * Nothing is put where no record of the log can have the tag: the index knows when each was last put.
 *
 * Tags' keys begin with a byte that no UTF-8 text begins with, so that no entry's key is one of them.
 */

import type { Engine } from '../engine/engine.ts'
import { MAX_KEY_SIZE } from '../format/record.ts'
import { type Entry, NO_ENTRY } from '../keydir/keydir.ts'

const TAG_MARK = 0xff

/** The mark and the tag make a key. */
const MAX_TAG_SIZE = MAX_KEY_SIZE - 1

/** The bytes of a tag. @throws TypeError, RangeError */
export function encodeTag(tag: string): Buffer {
  if (typeof tag !== 'string') throw new TypeError(`A tag is a string, not ${typeof tag}`)
  if (!tag.isWellFormed()) throw new TypeError('The tag has a lone surrogate')
  const encoded = Buffer.from(tag)
  if (encoded.length > MAX_TAG_SIZE) {
    throw new RangeError(`Tag is ${encoded.length} bytes; the limit is ${MAX_TAG_SIZE}`)
  }
  return encoded
}

/** Whether a key is that of a tag. */
export function isTagKey(key: Uint8Array): boolean {
  return key[0] === TAG_MARK
}

/** Makes `engine.key` the key of a tag. */
export function seekTag(engine: Engine, tag: Uint8Array): void {
  const key = Buffer.allocUnsafe(tag.length + 1)
  key[0] = TAG_MARK
  key.set(tag, 1)
  engine.key.encode(key)
}

/** The sequence at which a tag was last invalidated; 0 where it never was, or nothing is left that is so old. */
export function invalidatedAt(engine: Engine, tag: Uint8Array): number {
  seekTag(engine, tag)
  // A tag never expires.
  const entry: Entry = engine.find()
  return entry === NO_ENTRY ? 0 : engine.keydir.entries.sequenceOf(entry)
}
