import { createHash } from 'node:crypto'

/** Tells what a store shows from what another one shows. */
export function digestOf(entries: Iterable<readonly [string, string]>): string {
  const hash = createHash('sha1')
  for (const [key, value] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${key.length}:${key}${value.length}:${value}`)
  }
  return hash.digest('hex')
}
