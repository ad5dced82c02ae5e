/**
 * The place of the first of `count` sorted heads from `at` on that is not below `head`; `count` if none.
 */
export function firstNotBelow(words: Uint32Array, at: number, count: number, head: number): number {
  let low = at
  let left = count
  while (left > 1) {
    const half = left >>> 1
    if ((words[low + half - 1] as number) < head) low += half
    left -= half
  }
  if (left === 1 && (words[low] as number) < head) low++
  return low - at
}

/** The place behind the last head from `from` on that is `head`, among `count` sorted heads at `at`. */
export function endOfTies(
  words: Uint32Array,
  at: number,
  from: number,
  count: number,
  head: number,
): number {
  // Ties are few as a rule, so a step by step search is right; it doubles in case they are many.
  let low = from
  let step = 1
  while (low + step < count && words[at + low + step] === head) {
    low += step
    step *= 2
  }
  let high = Math.min(low + step, count)
  low++
  while (low < high) {
    const middle = (low + high) >>> 1
    if (words[at + middle] === head) low = middle + 1
    else high = middle
  }
  return low
}
