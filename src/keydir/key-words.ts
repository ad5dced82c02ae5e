/**
 * Keys as words: keys that lie in arenas are compared a word at a time.
 *
 * A key in memory is its bytes, from the start of a word, padded with zeros to the end of a word.
 * So whole words show whether two keys are equal. At the first words that differ, the order of
 * their bytes decides. Padding never decides wrongly: if two keys differ only by it, their sizes
 * decide, and a zero that stands for "no byte" sorts before any other byte.
 *
 * Indexing a typed array yields `number | undefined` for the type checker. In this folder an index
 * is in bounds by construction, and `as number` says so; it has no other use here.
 */

// Not exported itself: an export is read from its module's cell each time, while a constant is
// folded (measured).
const littleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1

/** Whether this machine stores the low byte of a word first. */
export const LITTLE_ENDIAN = littleEndian

/** Returns how many words a key of `size` bytes takes. */
export function keyWords(size: number): number {
  return (size + 3) >>> 2
}

/**
 * Compares key `a` with key `b` as unsigned bytes, a prefix first: negative, zero or positive.
 *
 * @param from the number of words that are known to be equal
 */
export function compareKeys(
  a: Uint32Array,
  aAt: number,
  aSize: number,
  b: Uint32Array,
  bAt: number,
  bSize: number,
  from: number,
): number {
  const count = (Math.min(aSize, bSize) + 3) >>> 2
  for (let i = from; i < count; i++) {
    const x = a[aAt + i] as number
    const y = b[bAt + i] as number
    if (x !== y) return bigEndian(x) < bigEndian(y) ? -1 : 1
  }
  return aSize - bSize
}

/** Whether two keys are the same. */
export function equalKeys(
  a: Uint32Array,
  aAt: number,
  aSize: number,
  b: Uint32Array,
  bAt: number,
  bSize: number,
): boolean {
  if (aSize !== bSize) return false
  const count = (aSize + 3) >>> 2
  for (let i = 0; i < count; i++) {
    if (a[aAt + i] !== b[bAt + i]) return false
  }
  return true
}

/** Returns how many bytes two keys share from their start. */
export function sharedSize(
  a: Uint32Array,
  aAt: number,
  aSize: number,
  b: Uint32Array,
  bAt: number,
  bSize: number,
): number {
  const size = Math.min(aSize, bSize)
  const count = (size + 3) >>> 2
  for (let i = 0; i < count; i++) {
    const difference = bigEndian(((a[aAt + i] as number) ^ (b[bAt + i] as number)) >>> 0)
    if (difference !== 0) return Math.min(size, i * 4 + (Math.clz32(difference) >>> 3))
  }
  return size
}

/**
 * Returns the head of a key: the first 31 of the 32 bits after its first `prefix` bytes, as a
 * number that sorts as they do. Bytes after the key's end count as zeros, so equal heads do not
 * mean equal keys. With 31 bits, the difference of two heads is a 32-bit integer, whose sign a
 * search can use without a branch.
 */
export function keyHead(words: Uint32Array, at: number, size: number, prefix: number): number {
  const first = prefix >>> 2
  const count = (size + 3) >>> 2
  const high = first < count ? bigEndian(words[at + first] as number) : 0
  const shift = (prefix & 3) * 8
  if (shift === 0) return high >>> 1
  const low = first + 1 < count ? bigEndian(words[at + first + 1] as number) : 0
  return ((high << shift) | (low >>> (32 - shift))) >>> 1
}

/** Compares two keys that need not lie in words: negative, zero or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const size = Math.min(a.length, b.length)
  for (let i = 0; i < size; i++) {
    const difference = (a[i] as number) - (b[i] as number)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Returns a word's bytes as a number, with the first byte in memory as the highest. */
export function bigEndian(word: number): number {
  if (!littleEndian) return word
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0
}
