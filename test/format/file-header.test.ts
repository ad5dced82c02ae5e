import { describe, expect, it } from 'vitest'
import { checksum } from '../../src/format/checksum.ts'
import {
  decodeFileHeader,
  encodeFileHeader,
  FILE_HEADER_SIZE,
  type FileHeader,
  FORMAT_VERSION,
  storeSeed,
  versionOf,
} from '../../src/format/file-header.ts'
import { flips, SEED, STORE_ID } from '../support/records.ts'

const table: readonly (readonly [FileHeader, string])[] = [
  [
    { type: 'segment', storeId: STORE_ID, fileId: 1, origin: 'appended', predecessor: undefined },
    '4649524b494e 53 01 000102030405060708090a0b0c0d0e0f 01000000 01000000 00000000 00000000 aae07422',
  ],
  [
    {
      type: 'segment',
      storeId: STORE_ID,
      fileId: 0x01020304,
      origin: 'appended',
      predecessor: { id: 0x01020303, size: 0xf0f0f0f0 },
    },
    '4649524b494e 53 01 000102030405060708090a0b0c0d0e0f 04030201 01000000 03030201 f0f0f0f0',
  ],
  [
    { type: 'hint', storeId: STORE_ID, fileId: 9, origin: 'merged', predecessor: undefined },
    '4649524b494e 48 01 000102030405060708090a0b0c0d0e0f 09000000 02000000 00000000 00000000',
  ],
  [
    { type: 'manifest', storeId: STORE_ID, fileId: 2, origin: 'none', predecessor: undefined },
    '4649524b494e 4d 02 000102030405060708090a0b0c0d0e0f 02000000 00000000 00000000 00000000 c4d9d6ca',
  ],
  [
    { type: 'checkpoint', storeId: STORE_ID, fileId: 7, origin: 'none', predecessor: undefined },
    '4649524b494e 43 01 000102030405060708090a0b0c0d0e0f 07000000 00000000 00000000 00000000',
  ],
]

/** Updates the checksum of a header that was changed. */
function seal(header: Buffer): Buffer {
  const crcAt = FILE_HEADER_SIZE - 4
  header.writeUInt32LE(checksum(header, 0, crcAt, 0), crcAt)
  return header
}

describe('the header of a file', () => {
  it.each(table)('consists of these bytes: %o', (header, hex) => {
    const bytes = encodeFileHeader(header)

    expect(bytes).toHaveLength(FILE_HEADER_SIZE)
    expect(bytes.toString('hex')).toMatch(new RegExp(`^${hex.replaceAll(' ', '')}`))
    expect(decodeFileHeader(bytes)).toEqual(header)
    expect(decodeFileHeader(Buffer.concat([bytes, Buffer.from('more')]))).toEqual(header)
  })

  it('is reported as damaged if any bit is flipped', () => {
    for (const [header] of table) {
      for (const { at, bytes } of flips(encodeFileHeader(header))) {
        expect(decodeFileHeader(bytes), `byte ${at}`).toMatchObject({ fault: 'damaged' })
      }
    }
  })

  it('is reported as short wherever it is cut', () => {
    const bytes = encodeFileHeader({ type: 'hint', storeId: STORE_ID, fileId: 1, origin: 'merged' })

    for (let size = 0; size < bytes.length; size++) {
      expect(decodeFileHeader(bytes.subarray(0, size))).toEqual({ fault: 'short' })
    }
  })

  it('of an unknown version is told apart from damage', () => {
    const bytes = encodeFileHeader({
      type: 'manifest',
      storeId: STORE_ID,
      fileId: 1,
      origin: 'none',
    })

    for (const version of [0, FORMAT_VERSION + 1, 255]) {
      bytes[7] = version
      expect(decodeFileHeader(seal(bytes))).toEqual({ fault: 'version', version, newest: 2 })
    }
  })

  it('of a version before the one that its type is written in is read', () => {
    const header = { type: 'manifest', storeId: STORE_ID, fileId: 1, origin: 'none' } as const
    const bytes = encodeFileHeader(header)

    bytes[7] = 1

    expect(decodeFileHeader(seal(bytes))).toEqual({ ...header, predecessor: undefined })
    expect(versionOf(bytes)).toBe(1)
  })

  it.each([
    ['type', 6],
    ['origin', 28],
  ])('of an unknown %s is damaged', (_, at) => {
    const bytes = encodeFileHeader({
      type: 'segment',
      storeId: STORE_ID,
      fileId: 1,
      origin: 'merged',
    })
    bytes[at] = 99

    expect(decodeFileHeader(seal(bytes))).toMatchObject({ fault: 'damaged' })
  })
})

describe('the seed of a store', () => {
  it('is the checksum of its id', () => {
    expect(storeSeed(STORE_ID)).toBe(SEED)
    expect(storeSeed(STORE_ID)).toBe(0xcecee288)
    expect(storeSeed(new Uint8Array(16))).not.toBe(SEED)
  })
})
