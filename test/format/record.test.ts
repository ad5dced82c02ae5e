import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BATCH_END,
  clearBatchFlag,
  DAMAGED,
  EXPIRES,
  HAS_NAMESPACE,
  IN_BATCH,
  keyOffset,
  MAX_KEY_SIZE,
  MAX_SEQUENCE,
  MAX_VALUE_SIZE,
  MIN_RECORD_SIZE,
  PUT,
  pageOf,
  RecordFields,
  recordSize,
  SHORT,
  TOMBSTONE,
  UnsealedRecord,
  valueOffset,
  verifyRecord,
  writeBatchEnd,
  writeChecksum,
  writeRecordHeader,
  writeSequence,
} from '../../src/format/record.ts'
import {
  batchEnd,
  flips,
  put,
  type RecordInput,
  record,
  SEED,
  tombstone,
} from '../support/records.ts'

/** Reads a record out of a page in which it does not begin at 0. */
function read(bytes: Uint8Array) {
  const page = pageOf(Buffer.concat([Buffer.from('ahead'), bytes]))
  const fields = new RecordFields()
  const size = fields.read(page, 5, page.bytes.length, SEED)
  const text = (from: number, to: number) => page.bytes.toString('latin1', from, to)
  return {
    size,
    kind: fields.kind,
    flags: fields.flags,
    key: text(fields.keyAt, fields.valueAt),
    value: text(fields.valueAt, 5 + fields.size),
    sequence: fields.sequence,
    expiresAtMs: fields.expiresAtMs,
  }
}

const moment = Date.UTC(2030, 0, 1)

const table: readonly (readonly [string, RecordInput, string])[] = [
  [
    'a put',
    { key: 'a', value: 'one', sequence: 1 },
    'e753542c 01 00 0100 03000000 010000000000 61 6f6e65',
  ],
  [
    'a put that expires',
    { key: 'b', value: 'two', sequence: 2, expiresAtMs: moment },
    'b8e6833f 01 01 0100 03000000 020000000000 00b4c5dab801 62 74776f',
  ],
  [
    'a tombstone',
    { kind: TOMBSTONE, key: 'a', sequence: 3 },
    'f80bc498 02 00 0100 00000000 030000000000 61',
  ],
  [
    'a member of a batch',
    { flags: IN_BATCH, key: 'd', sequence: 5 },
    '2f2faf83 01 04 0100 00000000 050000000000 64',
  ],
  [
    'a batch end',
    { kind: BATCH_END, value: Uint8Array.of(2, 0, 0, 0), sequence: 6 },
    '421f47ac 03 00 0000 04000000 060000000000 02000000',
  ],
]

describe('a record', () => {
  it.each(table)('consists of these bytes: %s', (_, input, hex) => {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')

    expect(record(input).toString('hex')).toBe(bytes.toString('hex'))
    expect(read(bytes)).toEqual({
      size: bytes.length,
      kind: input.kind ?? PUT,
      flags: (input.flags ?? 0) | (input.expiresAtMs === undefined ? 0 : EXPIRES),
      key: Buffer.from(input.key ?? '').toString('latin1'),
      value: Buffer.from(input.value ?? '').toString('latin1'),
      sequence: input.sequence,
      expiresAtMs: input.expiresAtMs ?? 0,
    })
  })

  it('is read as it was written', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.uint8Array({ maxLength: 600 }),
        fc.integer({ min: 1, max: MAX_SEQUENCE }),
        fc.oneof(fc.constant(0), fc.integer({ min: 1, max: MAX_SEQUENCE })),
        (key, value, sequence, expiresAtMs) => {
          const found = read(record({ key, value, sequence, expiresAtMs }))

          expect(found).toMatchObject({
            size: recordSize(key.length, value.length, expiresAtMs !== 0),
            key: Buffer.from(key).toString('latin1'),
            value: Buffer.from(value).toString('latin1'),
            sequence,
            expiresAtMs,
          })
        },
      ),
    )
  })

  it('costs at most 20 bytes besides key and value', () => {
    expect(put('key', 'value', 1).length - 'keyvalue'.length).toBeLessThanOrEqual(20)
  })

  it('may have a namespace, which is skipped', () => {
    const plain = put('a', 'one', 1)
    const bytes = Buffer.concat([
      plain.subarray(0, 18),
      Buffer.from('07000000', 'hex'),
      plain.subarray(18),
    ])
    bytes[5] = HAS_NAMESPACE
    writeChecksum(pageOf(bytes), 0, bytes.length, SEED)

    const fields = new RecordFields()
    const size = fields.read(pageOf(bytes), 0, bytes.length, SEED)

    expect(size).toBe(bytes.length)
    expect(fields.namespace).toBe(7)
    expect(bytes.toString('latin1', fields.keyAt)).toBe('aone')
    expect(keyOffset(HAS_NAMESPACE | EXPIRES)).toBe(28)
  })

  it.each(table)('is reported as damaged if any bit is flipped: %s', (_, input) => {
    for (const { at, bit, bytes } of flips(record(input))) {
      expect(read(bytes).size, `bit ${bit} of byte ${at}`).toBeLessThanOrEqual(0)
    }
  })

  it.each(table)('is reported as short wherever it is cut: %s', (_, input) => {
    const bytes = record(input)

    for (let size = 0; size < bytes.length; size++) {
      expect(read(bytes.subarray(0, size)).size, `${size} bytes`).toBe(SHORT)
    }
  })

  it('belongs only to the store that wrote it', () => {
    const page = pageOf(put('a', 'one', 1))

    expect(new RecordFields().read(page, 0, page.bytes.length, SEED + 1)).toBe(DAMAGED)
    expect(new RecordFields().read(page, 0, page.bytes.length, SEED)).toBe(page.bytes.length)
  })

  it('never consists of zeros', () => {
    expect(read(Buffer.alloc(100)).size).toBe(DAMAGED)
  })
})

describe('the head of a record', () => {
  /** Returns a head without a checksum, and with nothing after it. */
  function head(kind: number, flags: number, keySize: number, valueSize: number): Buffer {
    const bytes = Buffer.alloc(28)
    writeRecordHeader(pageOf(bytes).view, 0, kind as 1, flags, keySize, valueSize, 1, 0)
    return bytes
  }

  it.each([
    ['kind 0', head(0, 0, 1, 0)],
    ['an unknown kind', head(4, 0, 1, 0)],
    ['an unknown flag', head(PUT, 8, 1, 0)],
    ['a put without a key', head(PUT, 0, 0, 1)],
    ['a value beyond the limit', head(PUT, 0, 1, MAX_VALUE_SIZE + 1)],
    ['the largest number for a size', head(PUT, 0, 1, 2 ** 32 - 1)],
    ['a tombstone with a value', head(TOMBSTONE, 0, 1, 1)],
    ['a tombstone without a key', head(TOMBSTONE, 0, 0, 0)],
    ['a tombstone that expires', head(TOMBSTONE, EXPIRES, 1, 0)],
    ['a batch end with a key', head(BATCH_END, 0, 1, 4)],
    ['a batch end without a count', head(BATCH_END, 0, 0, 0)],
    ['a batch end in a batch', head(BATCH_END, IN_BATCH, 0, 4)],
  ])('is refused before anything after it is read: %s', (_, bytes) => {
    expect(new RecordFields().readHeader(pageOf(bytes), 0, bytes.length)).toBe(DAMAGED)
  })

  it.each([
    ['the largest key', head(PUT, 0, MAX_KEY_SIZE, 0), MAX_KEY_SIZE],
    ['the largest value', head(PUT, 0, 1, MAX_VALUE_SIZE), MAX_VALUE_SIZE + 1],
  ])('determines the size of what follows it, which may be missing: %s', (_, bytes, beyond) => {
    const fields = new RecordFields()

    expect(fields.readHeader(pageOf(bytes), 0, bytes.length)).toBe(18 + beyond)
    expect(fields.read(pageOf(bytes), 0, bytes.length, SEED)).toBe(SHORT)
  })

  it('of the smallest record leaves one byte for a key', () => {
    expect(tombstone('k', 1)).toHaveLength(MIN_RECORD_SIZE)
  })
})

describe('a located record', () => {
  it('is verified by its sequence and its checksum', () => {
    const bytes = put('key', 'value', 5)
    const page = pageOf(Buffer.concat([Buffer.alloc(3), bytes]))

    expect(verifyRecord(page, 3, bytes.length, SEED, 5)).toBe(true)
    expect(verifyRecord(page, 3, bytes.length, SEED, 6)).toBe(false)
    expect(verifyRecord(page, 3, bytes.length - 1, SEED, 5)).toBe(false)
    for (const flip of flips(bytes)) {
      const flipped = pageOf(Buffer.concat([Buffer.alloc(3), flip.bytes]))
      expect(verifyRecord(flipped, 3, bytes.length, SEED, 5), `${flip.at}`).toBe(false)
    }
  })

  it.each([0, moment])('has its value after the key, expiring at %d', (expiresAtMs) => {
    const page = pageOf(put('key', 'value', 5, expiresAtMs))

    expect(page.bytes.toString('utf8', valueOffset(page.view, 0, 3))).toBe('value')
  })
})

describe('a record that is sealed in parts', () => {
  it.each([1, 7, 100, 10_000])('has the checksum of the whole, %d bytes at a time', (size) => {
    const bytes = record({ key: 'key', value: 'v'.repeat(500), sequence: 9 })
    const at = 3
    const page = pageOf(Buffer.concat([Buffer.alloc(at), bytes, Buffer.alloc(9)]))
    page.view.setUint32(at, 0)

    const unsealed = new UnsealedRecord(page, at, bytes.length, SEED)
    while (!unsealed.sealMore(size)) expect(page.view.getUint32(at)).toBe(0)

    expect(page.bytes.subarray(at, at + bytes.length).equals(bytes)).toBe(true)
  })

  it('can be given another sequence, and be removed from its batch', () => {
    const page = pageOf(record({ flags: IN_BATCH, key: 'k', value: 'v', sequence: 0 }))

    writeSequence(page.view, 0, MAX_SEQUENCE)
    clearBatchFlag(page.view, 0)
    writeChecksum(page, 0, page.bytes.length, SEED)

    expect(page.bytes).toEqual(put('k', 'v', MAX_SEQUENCE))
  })

  it('can be a batch end at any position of a page', () => {
    const page = pageOf(Buffer.alloc(30))

    const end = writeBatchEnd(page, 4, 70_000, 9, SEED)

    expect(page.bytes.subarray(4, end)).toEqual(batchEnd(70_000, 9))
    const fields = new RecordFields()
    fields.read(page, 4, end, SEED)
    expect(fields.batchCount(page)).toBe(70_000)
  })
})
