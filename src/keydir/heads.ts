/**
 * Searching sorted heads: the numbers that stand for keys in the nodes of a tree.
 *
 * A binary search waits for the memory of each step before it knows where to look next. Here a step
 * compares with seven heads at once. Their places do not depend on each other, so the processor
 * fetches them together. No branch depends on their values, so none is mispredicted (measured,
 * bench/keydir.js). For this, the places after the last head hold {@link NO_HEAD}, which is not
 * below any head.
 */

/** Fills the places without a head; no head is above it. */
export const NO_HEAD = 0x7fffffff

/** Returns how many of the seven heads at `at`, `at + stride` and so on are below `head`. */
export function countBelow(words: Uint32Array, at: number, stride: number, head: number): number {
  // The difference of two 31-bit numbers is negative, with its top bit set, if the first one is
  // lower.
  return (
    (((words[at] as number) - head) >>> 31) +
    (((words[at + stride] as number) - head) >>> 31) +
    (((words[at + stride * 2] as number) - head) >>> 31) +
    (((words[at + stride * 3] as number) - head) >>> 31) +
    (((words[at + stride * 4] as number) - head) >>> 31) +
    (((words[at + stride * 5] as number) - head) >>> 31) +
    (((words[at + stride * 6] as number) - head) >>> 31)
  )
}

/**
 * Returns the place after the last of `count` heads that equals the one at place `from`. Place `i`
 * is at `at + i * stride`.
 */
export function endOfTies(
  words: Uint32Array,
  at: number,
  stride: number,
  from: number,
  count: number,
): number {
  const head = words[at + from * stride]
  // There are usually few ties, so the steps start small; they double in case there are many.
  let low = from
  let step = 1
  while (low + step < count && words[at + (low + step) * stride] === head) {
    low += step
    step *= 2
  }
  let high = Math.min(low + step, count)
  low++
  while (low < high) {
    const middle = (low + high) >>> 1
    if (words[at + middle * stride] === head) low = middle + 1
    else high = middle
  }
  return low
}
