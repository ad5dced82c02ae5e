/** Sorting entries by their keys. */

import { allocateBytes } from '../io/memory.ts'
import type { Entries } from './entries.ts'
import { LITTLE_ENDIAN } from './key-words.ts'

/** The longest run of equal heads that is sorted by comparing keys. */
const SHORT_RUN = 16

/**
 * Sorts entries by their keys, in place.
 *
 * Entries are paired with the heads of their keys in 64-bit numbers, which sort natively: this is
 * far faster than calling back for each comparison (measured, bench/keydir.js). Runs of equal heads
 * are sorted again by the next bytes that tell them apart. Takes 8 bytes for each entry meanwhile.
 */
export function sortEntries(entries: Entries, sorted: Uint32Array): void {
  const pairs = new BigUint64Array(allocateBytes(sorted.length * 8).buffer)
  // Runs still to be sorted, as pairs of start and end; a stack, since keys may share long
  // prefixes.
  const runs = [0, sorted.length]
  for (;;) {
    const end = runs.pop()
    const start = runs.pop()
    if (start === undefined || end === undefined) return
    if (end - start <= SHORT_RUN) {
      sortByKeys(entries, sorted.subarray(start, end))
      continue
    }
    sortByHeads(entries, sorted, start, end, pairs, runs)
  }
}

/**
 * Sorts a run by the heads after its common prefix, and adds what is still to be sorted to `runs`.
 */
function sortByHeads(
  entries: Entries,
  sorted: Uint32Array,
  start: number,
  end: number,
  pairs: BigUint64Array,
  runs: number[],
): void {
  const prefix = commonPrefix(entries, sorted, start, end)
  const part = pairs.subarray(start, end)
  const words = new Uint32Array(part.buffer, part.byteOffset, part.length * 2)
  const low = LITTLE_ENDIAN ? 0 : 1
  const high = 1 - low
  for (let i = start; i < end; i++) {
    const entry = sorted[i] as number
    words[(i - start) * 2 + low] = entry
    words[(i - start) * 2 + high] = entries.headOf(entry, prefix)
  }
  part.sort()
  for (let i = start; i < end; i++) sorted[i] = words[(i - start) * 2 + low] as number

  let runStart = start
  for (let i = start + 1; i <= end; i++) {
    if (i < end && words[(i - start) * 2 + high] === words[(runStart - start) * 2 + high]) continue
    // Keys that differ only by zeros at their ends cannot be told apart by heads.
    if (i - runStart === end - start) sortByKeys(entries, sorted.subarray(start, end))
    else if (i - runStart > 1) runs.push(runStart, i)
    runStart = i
  }
}

function commonPrefix(entries: Entries, sorted: Uint32Array, start: number, end: number): number {
  const first = sorted[start] as number
  let prefix = entries.keySizeOf(first)
  for (let i = start + 1; i < end && prefix > 0; i++) {
    prefix = Math.min(prefix, entries.sharedSize(first, sorted[i] as number))
  }
  return prefix
}

function sortByKeys(entries: Entries, run: Uint32Array): void {
  run.sort((a, b) => entries.compare(a, b))
}
