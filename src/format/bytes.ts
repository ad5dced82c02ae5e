/**
 * Byte-level helpers: little-endian numbers wider than 32 bits, short copies, and views. For
 * everything else there are `DataView` and Buffer methods.
 */

import { types } from 'node:util'

/** The size of a 48-bit number, which holds a sequence or a time. */
export const UINT48_SIZE = 6
/** The largest 48-bit number. */
export const MAX_UINT48 = 2 ** 48 - 1

const TWO_TO_32 = 2 ** 32

/** Whether a value is bytes, of any realm. */
export function isBytes(value: unknown): value is Uint8Array {
  // The first test is faster, and nearly always enough.
  return value instanceof Uint8Array || types.isUint8Array(value)
}

/** Reads a 48-bit number. */
export function readUint48(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint16(at + 4, true) * TWO_TO_32
}

/** Writes a 48-bit number. */
export function writeUint48(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true)
  view.setUint16(at + 4, (value / TWO_TO_32) & 0xffff, true)
}

/**
 * Up to this many bytes, a loop copies faster than a call into the runtime (measured, bench
 * `micro-copy`).
 */
const SHORT_COPY_SIZE = 64

/** Copies `size` bytes of `source`, starting at `from`, to `target`, starting at `to`. */
export function copyBytes(
  source: Uint8Array,
  from: number,
  size: number,
  target: Uint8Array,
  to: number,
): void {
  if (size <= SHORT_COPY_SIZE) {
    for (let index = 0; index < size; index++) target[to + index] = source[from + index] as number
  } else {
    // Creating a view takes as long as the copy itself.
    const isWhole = from === 0 && size === source.length
    target.set(isWhole ? source : source.subarray(from, from + size), to)
  }
}

/** Returns a view of the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
