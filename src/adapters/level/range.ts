/** Level's ranges as ranges of the store. */

import type { RangeOptions } from '../../index.ts'
import { type Format, storedBound } from './formats.ts'
import type { IteratorOptions } from './options.ts'

/** Returns the store's range. Of two bounds on one side, the inclusive one counts. */
export function rangeOf({ gt, gte, lt, lte, reverse }: IteratorOptions): RangeOptions {
  return {
    reverse,
    ...(gte !== undefined && { gte: storedBound(gte) }),
    ...(gt !== undefined && gte === undefined && { gt: storedBound(gt) }),
    ...(lte !== undefined && { lte: storedBound(lte) }),
    ...(lt !== undefined && lte === undefined && { lt: storedBound(lt) }),
  }
}

/** Whether a key comes before the first one that a walk in the range's direction may return. */
export function isBehind(key: Format, { gt, gte, lt, lte, reverse }: RangeOptions): boolean {
  const [inclusive, exclusive] = reverse === true ? [lte, lt] : [gte, gt]
  const bound = inclusive ?? exclusive
  if (bound === undefined) return false
  const order = Buffer.compare(Buffer.from(key), Buffer.from(bound))
  if (order === 0) return inclusive === undefined
  return reverse === true ? order > 0 : order < 0
}
