import { describe, expect, it } from 'vitest'
import { decodeFileHeader, FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { HintDecoder, HintEncoder } from '../../src/format/hint.ts'
import { PUT, pageOf, RecordFields, TOMBSTONE } from '../../src/format/record.ts'
import { flips, put, record, SEED, STORE_ID, tombstone } from '../support/records.ts'

const SEGMENT_SIZE = 0x01020304
const moment = Date.UTC(2030, 0, 1)

function encode(records: readonly Buffer[]): Buffer {
  const encoder = new HintEncoder()
  const fields = new RecordFields()
  let offset = FILE_HEADER_SIZE
  for (const bytes of records) {
    const page = pageOf(bytes)
    fields.read(page, 0, bytes.length, SEED)
    encoder.add(page, 0, fields, offset)
    offset += bytes.length
  }
  return Buffer.from(encoder.finish(STORE_ID, 9, 'merged', SEGMENT_SIZE))
}

function decode(hint: Uint8Array) {
  const decoder = HintDecoder.open(hint, STORE_ID, SEGMENT_SIZE)
  if (decoder === undefined) return undefined
  const entries = []
  while (decoder.next()) {
    const { fields, page, offset } = decoder
    const { kind, size, sequence, expiresAtMs } = fields
    const key = page.bytes.toString('latin1', fields.keyAt, fields.valueAt)
    entries.push({ kind, key, offset, size, sequence, expiresAtMs })
  }
  return entries
}

const hint = encode([
  put('a', 'one', 1),
  put('bb', 'x'.repeat(100_000), 2, moment),
  tombstone('a', 2 ** 40),
])

describe('a hint', () => {
  it('consists of these bytes', () => {
    const hex = [
      '04030201 03000000',
      '2c000000 01 00 0100 03000000 010000000000 61',
      '42000000 01 01 0200 a0860100 020000000000 00b4c5dab801 6262',
      'fc860100 02 00 0100 00000000 000000000001 61',
    ].map((line) => line.replaceAll(' ', ''))

    const text = hint.subarray(FILE_HEADER_SIZE).toString('hex')

    expect(text.slice(0, 16)).toBe(hex[0])
    expect(text.slice(24)).toBe(hex.slice(1).join(''))
    expect(decodeFileHeader(hint)).toMatchObject({ type: 'hint', fileId: 9, origin: 'merged' })
  })

  it('yields every record without its value', () => {
    expect(decode(hint)).toEqual([
      { kind: PUT, key: 'a', offset: 44, size: 22, sequence: 1, expiresAtMs: 0 },
      { kind: PUT, key: 'bb', offset: 66, size: 100_026, sequence: 2, expiresAtMs: moment },
      { kind: TOMBSTONE, key: 'a', offset: 100_092, size: 19, sequence: 2 ** 40, expiresAtMs: 0 },
    ])
  })

  it('may have no entries, or many', () => {
    const many = Array.from({ length: 5000 }, (_, index) =>
      record({ key: `key number ${index}`, value: 'v', sequence: index + 1 }),
    )

    expect(decode(encode([]))).toEqual([])
    expect(decode(encode(many))).toHaveLength(5000)
    expect(decode(encode(many))?.at(-1)).toMatchObject({ key: 'key number 4999', sequence: 5000 })
  })

  it('is refused if any bit after the file header is flipped', () => {
    for (const { at, bytes } of flips(hint)) {
      if (at >= FILE_HEADER_SIZE) expect(decode(bytes), `byte ${at}`).toBeUndefined()
    }
  })

  it('is refused wherever it is cut, and if anything follows it', () => {
    for (let size = 0; size < hint.length; size++) {
      expect(decode(hint.subarray(0, size)), `${size} bytes`).toBeUndefined()
    }
    expect(decode(Buffer.concat([hint, Buffer.alloc(1)]))).toBeUndefined()
  })

  it('is refused for a segment of another size, and for another store', () => {
    expect(HintDecoder.open(hint, STORE_ID, SEGMENT_SIZE + 1)).toBeUndefined()
    expect(HintDecoder.open(hint, new Uint8Array(16), SEGMENT_SIZE)).toBeUndefined()
  })
})
