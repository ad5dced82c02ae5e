import { describe, expect, it } from 'vitest'
import type { KeydirKind } from '../../src/format/keydir-kind.ts'
import { PUT, pageOf, RecordFields, TOMBSTONE } from '../../src/format/record.ts'
import { watchAllocations } from '../../src/io/memory.ts'
import { createKeydir } from '../../src/keydir/create.ts'
import { LoadBatch } from '../../src/recovery/load-batch.ts'
import { Random } from '../keydir/model.ts'
import { type RecordInput, record, SEED } from '../support/records.ts'

/** Adds a record. Returns what should come back of it. */
function add(batch: LoadBatch, input: RecordInput, segment: number, keepAbsence = false) {
  const page = pageOf(record(input))
  const fields = new RecordFields()
  fields.read(page, 0, page.bytes.length, SEED)
  const offset = (input.sequence * 7) % 2 ** 32
  batch.add(fields, page, segment, offset, keepAbsence)
  const { kind, keySize, size, sequence, expiresAtMs } = fields
  const key = Buffer.from(input.key ?? '').toString('latin1')
  return { kind, key, keySize, segment, offset, size, sequence, expiresAtMs, keepAbsence }
}

function takeAll(batch: LoadBatch) {
  const taken = []
  for (let next = batch.take(); next !== undefined; next = batch.take()) {
    const { kind, keySize, segment, offset, size, sequence, expiresAtMs, keepAbsence } = next
    const key = Buffer.from(next.key.subarray(0, keySize)).toString('latin1')
    taken.push({ kind, key, keySize, segment, offset, size, sequence, expiresAtMs, keepAbsence })
  }
  return taken
}

const bySequence = (a: { sequence: number }, b: { sequence: number }) => a.sequence - b.sequence
const KINDS: readonly KeydirKind[] = ['btree', 'hash']

describe.each(KINDS)('a batch for the keydir %s', (kind) => {
  it.each([0, 1, 4095, 4096, 6000])('returns each of %i records once', (count) => {
    const batch = LoadBatch.obtain(createKeydir(kind))
    const random = new Random(1)

    const added = Array.from({ length: count }, (_, index) => {
      const size = random.below(400) === 0 ? 1000 * random.below(65) : random.below(40)
      const key = Buffer.from(random.bytes(1 + size))
      const isTombstone = random.below(4) === 0
      const expiresAtMs = isTombstone ? 0 : random.below(2) * random.below(2 ** 45)
      const sequence = index + 1 + random.below(2) * 2 ** 40
      const value = isTombstone ? '' : 'value'
      const kind = isTombstone ? TOMBSTONE : PUT
      const segment = 1 + random.below(2 ** 31 - 1)
      const input: RecordInput = { kind, key, value, sequence, expiresAtMs }
      return add(batch, input, segment, random.below(2) === 0)
    })

    expect(batch.count).toBe(count)
    expect(takeAll(batch).sort(bySequence)).toEqual(added.sort(bySequence))
    expect(batch.take()).toBeUndefined()
    batch.release()
  })

  it('returns records of one key in the order in which they were added', () => {
    const batch = LoadBatch.obtain(createKeydir(kind))
    const random = new Random(1)
    const orders = new Map<string, number[]>()

    for (let index = 0; index < 8000; index++) {
      const key = `key ${random.below(500)}`
      const sequence = 1 + random.below(2 ** 30)
      orders.set(key, [...(orders.get(key) ?? []), sequence])
      add(batch, { key, sequence }, 1)
    }

    const taken = new Map<string, number[]>()
    for (const { key, sequence } of takeAll(batch)) {
      taken.set(key, [...(taken.get(key) ?? []), sequence])
    }
    expect(taken).toEqual(orders)
    batch.release()
  })

  it('holds a few records in its first block and returns them as they were added', () => {
    const batch = LoadBatch.obtain(createKeydir(kind))
    const sizes: number[] = []
    watchAllocations((size) => sizes.push(size))
    try {
      for (let sequence = 1; sequence <= 500; sequence++) {
        add(batch, { key: `key ${500 - sequence}`, sequence }, 1)
      }
      expect(takeAll(batch).map(({ sequence }) => sequence)).toEqual(
        Array.from({ length: 500 }, (_, index) => index + 1),
      )
    } finally {
      watchAllocations(undefined)
      batch.release()
    }

    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(64 * 1024)
  })

  it('can be filled again after everything was taken', () => {
    const batch = LoadBatch.obtain(createKeydir(kind))

    for (const letter of ['a', 'b', 'c']) {
      const added = Array.from({ length: 5000 }, (_, index) =>
        add(batch, { key: `${letter}${index}`, sequence: index + 1 }, 1),
      )
      expect(takeAll(batch).sort(bySequence)).toEqual(added)
    }
    batch.release()
  })

  it('returns records in an order that suits the keydir', () => {
    const keydir = createKeydir(kind)
    const batch = LoadBatch.obtain(keydir)
    const random = new Random(1)
    for (let index = 0; index < 10_000; index++) {
      add(batch, { key: Buffer.from(random.bytes(16)), sequence: index + 1 }, 1)
    }

    const keys = takeAll(batch).map(({ key }) => Buffer.from(key, 'latin1'))

    const falls = keys.filter((key, index) => {
      const before = keys[index - 1] ?? key
      return keydir.rank === undefined
        ? Buffer.compare(before, key) > 0
        : keydir.rank(before, 16) > keydir.rank(key, 16)
    })
    // Ranks of 24 bits cannot distinguish quite all of them.
    expect(falls.length).toBeLessThan(30)
    batch.release()
  })
})

describe('a batch', () => {
  it('is full after some 64 MiB', () => {
    const batch = LoadBatch.obtain(createKeydir('btree'))
    const page = pageOf(record({ key: Buffer.alloc(60_000, 'k'), sequence: 1 }))
    const fields = new RecordFields()
    fields.read(page, 0, page.bytes.length, SEED)
    let count = 0

    while (!batch.isFull) {
      count++
      page.view.setUint32(fields.keyAt, count)
      batch.add(fields, page, 1, count, false)
    }

    expect(count * 60_000).toBeGreaterThan(60 * 2 ** 20)
    expect(count * 60_000).toBeLessThan(66 * 2 ** 20)
    for (let left = count; left > 0; left--) batch.take()
    expect(batch.take()).toBeUndefined()
    expect(batch.isFull).toBe(false)
    batch.release()
  })

  it('is used again after it was released, and not before', () => {
    const first = LoadBatch.obtain(createKeydir('btree'))
    const second = LoadBatch.obtain(createKeydir('btree'))
    second.release()

    const keydir = createKeydir('hash')
    const third = LoadBatch.obtain(keydir)
    for (let sequence = 1; sequence <= 5000; sequence++) {
      add(third, { key: `key ${sequence}`, sequence }, 1)
    }

    expect([second === first, third === second]).toEqual([false, true])
    const ranks = takeAll(third).map(({ key }) => keydir.rank?.(Buffer.from(key), key.length))
    expect(ranks).toEqual(ranks.toSorted((a = 0, b = 0) => a - b))
    expect(new Set(ranks).size).toBeGreaterThan(4000)
    third.release()
  })
})
