/** Little-endian numbers wider than 32 bits; everything else is a `DataView` or Buffer method. */

/** The size of a 48-bit number: sequences and times. */
export const UINT48_SIZE = 6
/** The largest 48-bit number. */
export const MAX_UINT48 = 2 ** 48 - 1

const TWO_TO_32 = 2 ** 32

/** Reads a 48-bit number. */
export function readUint48(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint16(at + 4, true) * TWO_TO_32
}

/** Writes a 48-bit number. */
export function writeUint48(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true)
  view.setUint16(at + 4, (value / TWO_TO_32) & 0xffff, true)
}

/** So many bytes are copied faster by a loop than by a call into the runtime (measured, bench `micro-copy`). */
const SHORT_COPY_SIZE = 64

/** Copies `size` bytes of `source` from `from` on to `target` from `to` on. */
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
    // To make a view takes as long as the copy does.
    const isWhole = from === 0 && size === source.length
    target.set(isWhole ? source : source.subarray(from, from + size), to)
  }
}

/** A view of the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
