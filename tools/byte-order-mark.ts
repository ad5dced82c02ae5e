/** Removes the byte order mark from input. */

const BYTE_ORDER_MARK = Buffer.from('\ufeff')

/** Yields the source without the mark with which some programs begin UTF-8. */
export async function* withoutByteOrderMark(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let begun: Uint8Array | undefined = new Uint8Array()
  for await (const chunk of source) {
    if (begun === undefined) {
      yield chunk
      continue
    }
    begun = Buffer.concat([begun, chunk])
    if (begun.length < BYTE_ORDER_MARK.length) continue
    yield withoutMark(begun)
    begun = undefined
  }
  if (begun !== undefined) yield begun
}

function withoutMark(bytes: Uint8Array): Uint8Array {
  const { length } = BYTE_ORDER_MARK
  return BYTE_ORDER_MARK.equals(bytes.subarray(0, length)) ? bytes.subarray(length) : bytes
}
