/** Repacking: copying a keydir with much unused memory into a smaller one. */

import { createKeydir } from './create.ts'
import { Location } from './entries.ts'
import { type Entry, NO_ENTRY } from './entry.ts'
import type { Keydir } from './keydir.ts'

/** The smallest keydir that is worth repacking, in bytes. */
const LEAST_SIZE = 64 * 1024
/** The number of entries moved in one step. */
const STEP_ENTRIES = 512

/** Whether more than half of a keydir's memory was left by entries that are gone. */
export function isSparse({ entries, byteSize }: Keydir): boolean {
  return byteSize > LEAST_SIZE && entries.freeSize > entries.usedSize / 2
}

/**
 * Creates, step by step, a keydir with the same content that takes only the memory it needs. The
 * original stays as it is, and must not be changed meanwhile.
 */
export function* repacked(keydir: Keydir): Generator<void, Keydir> {
  const fresh = createKeydir(keydir.kind)
  const { entries } = keydir
  const at = new Location()
  const add = (entry: Entry): void => {
    const key = entries.keyView(entry)
    const expiresAtMs = entries.expiresAtOf(entry)
    entries.locate(entry, at)
    fresh.insert(key, key.length, at.segment, at.offset, at.size, at.sequence, expiresAtMs)
  }
  if (keydir.ordered) {
    // Ascending keys fill the leaves of a tree.
    const cursor = keydir.cursor(EVERYTHING)
    for (let count = 1; ; count++) {
      const entry = cursor.next()
      if (entry === NO_ENTRY) return fresh
      add(entry)
      if (count % STEP_ENTRIES === 0) yield
    }
  }
  for (let place = 0; ; ) {
    place = entries.walk(place, STEP_ENTRIES, add)
    if (place === -1) return fresh
    yield
  }
}

const EVERYTHING = {
  lower: undefined,
  lowerInclusive: true,
  upper: undefined,
  upperInclusive: true,
  reverse: false,
} as const
