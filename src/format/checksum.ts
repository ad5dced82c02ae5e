/**
 * The CRC-32 of IEEE 802.3, computed in the way that is fastest for its length (measured, bench
 * `micro-checksum`).
 *
 * A call into the runtime costs more than the whole checksum of a short record. So records are
 * checked by a loop over the view of their page. It takes sixteen bytes at a time with as many
 * tables (Kounavis and Berry, "A systematic approach to building high performance software-based
 * CRC generators", 2005), and can copy the bytes meanwhile.
 */

import type Crc32 from 'crc-32'
import { requirePackage } from '../packages.ts'
import { viewOf } from './bytes.ts'

/** From this many bytes on, the native checksum beats the package's. */
const LONG_SIZE = 300
/**
 * The package and the native checksum are loaded once these bytes of short parts, or of long
 * ones, were computed without them: a process that reads a few records loads neither (bench
 * `start`).
 */
const SHORT_BEFORE_LOADING = 256 * 1024
const LONG_BEFORE_LOADING = 128 * 1024

/** Up to this many bytes, the loop over a view beats the native checksum. */
export const VIEW_LIMIT = 512

const WORD_SIZE = 4
/** The polynomial, its lowest power first. */
const POLYNOMIAL = 0xedb88320
const STRIDE = 4 * WORD_SIZE

/**
 * The checksum of each byte alone, of each byte followed by one zero, by two, and so on: 256 words
 * each.
 */
const tables = slicingTables()

/** Computes the checksum of bytes that follow those of the checksum `seed`. */
type Compute = (part: Uint8Array, seed: number) => number

/** The functions that compute the checksums of short and of long parts. */
let short: Compute = shortBeforeLoading
let long: Compute = longBeforeLoading
let shortLeft = SHORT_BEFORE_LOADING
let longLeft = LONG_BEFORE_LOADING

/**
 * Returns the checksum of `bytes` from `start` to `end`, as an unsigned number.
 *
 * @param seed the checksum of the bytes before, so that pieces can be chained; 0 at the beginning
 */
export function checksum(bytes: Uint8Array, start: number, end: number, seed: number): number {
  const part = bytes.subarray(start, end)
  return end - start < LONG_SIZE ? short(part, seed) : long(part, seed)
}

function withoutLoading(part: Uint8Array, seed: number): number {
  return viewChecksum(viewOf(part), 0, part.length, seed)
}

function shortBeforeLoading(part: Uint8Array, seed: number): number {
  shortLeft -= part.length
  if (shortLeft < 0) short = loadShort()
  return withoutLoading(part, seed)
}

function longBeforeLoading(part: Uint8Array, seed: number): number {
  longLeft -= part.length
  if (longLeft >= 0) return withoutLoading(part, seed)
  long = process.getBuiltinModule('node:zlib').crc32
  return long(part, seed)
}

function loadShort(): Compute {
  try {
    const { buf } = requirePackage('crc-32') as typeof Crc32
    return (part, seed) => buf(part, seed) >>> 0
  } catch {
    // A bundled application may have left it behind.
    return withoutLoading
  }
}

/** Like {@link checksum}, for a view: faster up to {@link VIEW_LIMIT} bytes. */
export function viewChecksum(view: DataView, start: number, end: number, seed: number): number {
  let crc = ~seed
  let at = start
  for (; at + STRIDE <= end; at += STRIDE) {
    crc =
      fold(view.getInt32(at, true) ^ crc, 3) ^
      fold(view.getInt32(at + 4, true), 2) ^
      fold(view.getInt32(at + 8, true), 1) ^
      fold(view.getInt32(at + 12, true), 0)
  }
  for (; at + WORD_SIZE <= end; at += WORD_SIZE) crc = fold(view.getInt32(at, true) ^ crc, 0)
  for (; at < end; at++) crc = foldByte(crc, view.getUint8(at))
  return ~crc >>> 0
}

/**
 * Like {@link viewChecksum}, but also copies the bytes to `targetAt` of another view, which must be
 * large enough.
 */
export function copyChecksum(
  view: DataView,
  start: number,
  end: number,
  seed: number,
  target: DataView,
  targetAt: number,
): number {
  const shift = targetAt - start
  let crc = ~seed
  let at = start
  for (; at + STRIDE <= end; at += STRIDE) {
    const a = view.getInt32(at, true)
    const b = view.getInt32(at + 4, true)
    const c = view.getInt32(at + 8, true)
    const d = view.getInt32(at + 12, true)
    target.setInt32(at + shift, a, true)
    target.setInt32(at + shift + 4, b, true)
    target.setInt32(at + shift + 8, c, true)
    target.setInt32(at + shift + 12, d, true)
    crc = fold(a ^ crc, 3) ^ fold(b, 2) ^ fold(c, 1) ^ fold(d, 0)
  }
  for (; at + WORD_SIZE <= end; at += WORD_SIZE) {
    const word = view.getInt32(at, true)
    target.setInt32(at + shift, word, true)
    crc = fold(word ^ crc, 0)
  }
  for (; at < end; at++) {
    const byte = view.getUint8(at)
    target.setUint8(at + shift, byte)
    crc = foldByte(crc, byte)
  }
  return ~crc >>> 0
}

/** Returns what a word adds to the checksum of data that ends `distance` words after it. */
function fold(word: number, distance: number): number {
  const first = distance << 10
  return (
    (tables[first + 768 + (word & 255)] as number) ^
    (tables[first + 512 + ((word >>> 8) & 255)] as number) ^
    (tables[first + 256 + ((word >>> 16) & 255)] as number) ^
    (tables[first + (word >>> 24)] as number)
  )
}

function foldByte(crc: number, byte: number): number {
  return (crc >>> 8) ^ (tables[(crc ^ byte) & 255] as number)
}

function slicingTables(): Int32Array {
  const words = new Int32Array(STRIDE * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0)
    words[byte] = crc
  }
  for (let at = 256; at < words.length; at++) {
    const shorter = words[at - 256] as number
    words[at] = (shorter >>> 8) ^ (words[shorter & 255] as number)
  }
  return words
}
