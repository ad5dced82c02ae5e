import { describe, expect, it } from 'vitest'
import { checksum } from '../../src/format/checksum.ts'
import { decodeFileHeader, FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import {
  decodeManifest,
  encodeManifest,
  isManifestSize,
  type Manifest,
} from '../../src/format/manifest.ts'
import { flips, SEED, STORE_ID } from '../support/records.ts'

const empty: Manifest = {
  storeId: STORE_ID,
  generation: 2,
  tailId: 1,
  tailSize: 174,
  nextSegmentId: 2,
  nextSequence: 7,
  keydirKind: 'btree',
  closed: true,
  clockMs: 1_767_225_600_000,
  sweeps: [],
  segments: [],
}

const full: Manifest = {
  ...empty,
  generation: 0xfffffffe,
  keydirKind: 'bplustree',
  closed: false,
  nextSequence: 2 ** 48 - 1,
  clockMs: 2 ** 48 - 1,
  sweeps: [
    { atMs: 2 ** 48 - 1, nextSequence: 1 },
    { atMs: 1, nextSequence: 2 ** 48 - 1 },
  ],
  segments: [
    {
      id: 3,
      origin: 'appended',
      size: 0x01020304,
      putCount: 5,
      tombstoneCount: 6,
      tombstoneBytes: 7,
      minSequence: 8,
      maxSequence: 2 ** 40,
      lastExpiryMs: 0,
    },
    {
      id: 2 ** 31 - 1,
      origin: 'merged',
      size: 2 ** 32 - 1,
      putCount: 2 ** 32 - 1,
      tombstoneCount: 0,
      tombstoneBytes: 0,
      minSequence: 0,
      maxSequence: 0,
      lastExpiryMs: 2 ** 48 - 1,
    },
  ],
}

const decode = (bytes: Uint8Array) => decodeManifest(bytes, STORE_ID, full.generation)

/** Updates the checksum of a manifest that was changed. */
function seal(bytes: Buffer): Buffer {
  const crcAt = bytes.length - 4
  bytes.writeUInt32LE(checksum(bytes, FILE_HEADER_SIZE, crcAt, SEED), crcAt)
  return bytes
}

describe('the manifest', () => {
  it('consists of these bytes', () => {
    const hex =
      '01000000 ae000000 02000000 070000000000 01 01 00000000 00a8da769b01 0000 62ad3890'.replaceAll(
        ' ',
        '',
      )

    const bytes = encodeManifest(empty)

    expect(bytes.subarray(FILE_HEADER_SIZE).toString('hex')).toBe(hex)
    expect(decodeFileHeader(bytes)).toMatchObject({ type: 'manifest', fileId: 2 })
    expect(decodeManifest(bytes, STORE_ID, 2)).toEqual(empty)
  })

  it('lists a segment in 42 bytes', () => {
    const hex =
      '03000000 01000000 04030201 05000000 06000000 07000000 080000000000 000000000001 000000000000'

    const bytes = encodeManifest(full)

    expect(bytes.length - encodeManifest({ ...full, segments: [] }).length).toBe(2 * 42)
    expect(bytes.toString('hex')).toContain(hex.replaceAll(' ', ''))
  })

  it('lists a sweep in 12 bytes', () => {
    const bytes = encodeManifest(full)

    expect(bytes.length - encodeManifest({ ...full, sweeps: [] }).length).toBe(2 * 12)
    expect(bytes.toString('hex')).toContain('ffffffffffff010000000000010000000000ffffffffffff')
  })

  it('of version 1 has neither a clock nor sweeps', () => {
    for (const manifest of [empty, full]) {
      const bytes = encodeManifest({ ...manifest, sweeps: [] })
      const [head, rest] = [bytes.subarray(0, 68), bytes.subarray(76)]
      head[7] = 1

      const first = seal(Buffer.concat([head, rest]))

      expect(decode(first)).toEqual({
        ...manifest,
        generation: full.generation,
        clockMs: 0,
        sweeps: [],
      })
      expect(isManifestSize(first, first.length)).toBe(true)
      expect(isManifestSize(first, first.length + 8)).toBe(false)
    }
  })

  it.each(['btree', 'hash', 'skiplist', 'bplustree'] as const)(
    'is read as it was written, of a %s',
    (keydirKind) => {
      expect(decode(encodeManifest({ ...full, keydirKind }))).toEqual({ ...full, keydirKind })
    },
  )

  it('is reported as damaged if any bit after the file header is flipped', () => {
    for (const { at, bytes } of flips(encodeManifest(full))) {
      if (at >= FILE_HEADER_SIZE) expect(decode(bytes), `byte ${at}`).toBeTypeOf('number')
    }
  })

  it('is reported as damaged wherever it is cut, and if anything follows it', () => {
    const bytes = encodeManifest(full)

    for (let size = FILE_HEADER_SIZE; size < bytes.length; size++) {
      expect(decode(bytes.subarray(0, size)), `${size} bytes`).toBeTypeOf('number')
    }
    expect(decode(Buffer.concat([bytes, Buffer.alloc(1)]))).toBeTypeOf('number')
  })

  it('is limited by its bytes before its count is trusted', () => {
    const bytes = encodeManifest(full)
    bytes.writeUInt32LE(2 ** 32 - 1, FILE_HEADER_SIZE + 20)

    expect(decode(seal(bytes))).toBe(FILE_HEADER_SIZE + 20)
  })

  it('of an unknown keydir kind is reported as damaged there', () => {
    const bytes = encodeManifest(full)
    bytes[FILE_HEADER_SIZE + 18] = 9

    expect(decode(seal(bytes))).toBe(FILE_HEADER_SIZE + 18)
  })

  it('of another store is reported as damaged', () => {
    expect(decodeManifest(encodeManifest(full), new Uint8Array(16), 1)).toBeTypeOf('number')
  })
})
