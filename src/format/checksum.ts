import { crc32 as crc32Long } from 'node:zlib'
import crc32Package from 'crc-32'

/** From this many bytes on, the native checksum wins (measured, bench `micro-checksum`). */
const LONG_SIZE = 300

/**
 * The CRC-32 (IEEE 802.3) of `bytes` from `start` up to `end`, as an unsigned number.
 *
 * @param seed the checksum of what comes before, so that pieces can be chained; 0 at the beginning
 */
export function checksum(bytes: Uint8Array, start: number, end: number, seed: number): number {
  const part = bytes.subarray(start, end)
  return end - start < LONG_SIZE ? crc32Package.buf(part, seed) >>> 0 : crc32Long(part, seed)
}
