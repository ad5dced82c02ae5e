/** A model of ranges. */

import type { RangeOptions } from '../../src/index.ts'

/** Returns those of some ordered keys that a range selects, by looking at each. */
export function inRange<T>(
  all: readonly T[],
  range: RangeOptions,
  keyOf: (each: T) => Uint8Array,
): T[] {
  const { gt, gte, lt, lte, prefix, reverse = false, limit = Number.POSITIVE_INFINITY } = range
  const found = all.filter((each) => {
    const key = keyOf(each)
    const compare = (bound: string | Uint8Array): number => Buffer.compare(key, Buffer.from(bound))
    return (
      (gt === undefined || compare(gt) > 0) &&
      (gte === undefined || compare(gte) >= 0) &&
      (lt === undefined || compare(lt) < 0) &&
      (lte === undefined || compare(lte) <= 0) &&
      (prefix === undefined || beginsWith(key, Buffer.from(prefix)))
    )
  })
  if (reverse) found.reverse()
  return found.slice(0, limit)
}

function beginsWith(key: Uint8Array, prefix: Buffer): boolean {
  return prefix.equals(key.subarray(0, prefix.length))
}
