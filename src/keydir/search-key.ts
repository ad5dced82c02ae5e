/** The key of a search, in words. */

import { allocateWords } from '../io/memory.ts'
import { equalKeys, LITTLE_ENDIAN } from './key-words.ts'

const littleEndian = LITTLE_ENDIAN
const FIRST_CAPACITY = 32

/**
 * The key being searched for, copied to whole words so that it compares with keys in arenas. A
 * caller's key need not be aligned or padded, and may have changed by the next call.
 */
export class SearchKey {
  /** The key's bytes, padded with zeros to a word and followed by one more word of zeros. */
  words = allocateWords(FIRST_CAPACITY)
  /** The same memory as bytes. */
  bytes = new Uint8Array(this.words.buffer)
  /** The key's size in bytes. */
  size = 0

  /** Sets the key to the first `keySize` bytes of `key`. */
  set(key: Uint8Array, keySize: number): void {
    if (keySize + 8 > this.bytes.length) this.#grow(keySize + 8)
    const words = this.words
    const whole = keySize >>> 2
    if (littleEndian && whole < 16) {
      // For short keys, packing words by hand beats a subarray and a set (measured,
      // bench/keydir.js).
      let at = 0
      for (let i = 0; i < whole; i++) {
        words[i] = packed(key, at)
        at += 4
      }
      let rest = 0
      for (let shift = 0; at < keySize; at++) {
        rest |= (key[at] as number) << shift
        shift += 8
      }
      words[whole] = rest
    } else {
      words[whole] = 0
      this.bytes.set(key.length === keySize ? key : key.subarray(0, keySize))
    }
    words[whole + 1] = 0
    this.size = keySize
  }

  /** Sets the key to one that already lies in words, padded with zeros to a word's end. */
  setWords(words: Uint32Array, at: number, size: number): void {
    if (size + 8 > this.bytes.length) this.#grow(size + 8)
    const count = (size + 3) >>> 2
    const own = this.words
    for (let i = 0; i < count; i++) own[i] = words[at + i] as number
    own[count] = 0
    this.size = size
  }

  /** Whether it holds the first `keySize` bytes of `key`. */
  holds(key: Uint8Array, keySize: number): boolean {
    if (keySize !== this.size) return false
    const bytes = this.bytes
    for (let i = 0; i < keySize; i++) {
      if (bytes[i] !== key[i]) return false
    }
    return true
  }

  /** Whether it holds the same key as `other`. */
  equals(other: SearchKey): boolean {
    return equalKeys(this.words, 0, this.size, other.words, 0, other.size)
  }

  /**
   * Returns the head after the first `prefix` bytes, as `keyHead` does; `prefix` is at most the
   * size.
   */
  head(prefix: number): number {
    const bytes = this.bytes
    return (
      (((bytes[prefix] as number) << 24) |
        ((bytes[prefix + 1] as number) << 16) |
        ((bytes[prefix + 2] as number) << 8) |
        (bytes[prefix + 3] as number)) >>>
      1
    )
  }

  #grow(size: number): void {
    let capacity = this.bytes.length
    while (capacity < size) capacity *= 2
    const words = allocateWords(capacity >>> 2)
    words.set(this.words)
    this.words = words
    this.bytes = new Uint8Array(words.buffer)
  }
}

function packed(key: Uint8Array, at: number): number {
  return (
    (key[at] as number) |
    ((key[at + 1] as number) << 8) |
    ((key[at + 2] as number) << 16) |
    ((key[at + 3] as number) << 24)
  )
}
