/** Digests of what stores show. */

import { createHash } from 'node:crypto'

/** Returns a digest of the entries that a store shows. */
export function digestOf(entries: Iterable<readonly [string, string]>): string {
  const hash = createHash('sha1')
  for (const [key, value] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${key.length}:${key}${value.length}:${value}`)
  }
  return hash.digest('hex')
}
