import { describe, expect, it } from 'vitest'
import { EntryHead, encodeEntry } from '../../src/cache/entry.ts'
import { pageOf } from '../../src/format/record.ts'

const plain = { staleAtMs: 0, tags: [], loadMs: 0, isFailure: false }
const tags = ['a', 'user:7'].map((tag) => Buffer.from(tag))

describe("the head of a cache's entry", () => {
  it.each([
    ['nothing', plain, '00'],
    ['when the value turns stale', { ...plain, staleAtMs: 0x0102030405 }, '01050403020100'],
    ['tags', { ...plain, tags }, `020201006106007573${'65723a37'}`],
    ['how long the value took to load', { ...plain, loadMs: 258 }, '0402010000'],
    ['that the value is a failure', { ...plain, isFailure: true }, '08'],
    [
      'all fields',
      { staleAtMs: 1, tags: tags.slice(0, 1), loadMs: 2, isFailure: true },
      '0f0100000000000101006102000000',
    ],
  ])('is encoded as the format says: %s', (_, extras, head) => {
    const stored = Buffer.from(encodeEntry(Buffer.from('value'), extras))

    expect(stored.toString('hex')).toBe(head + Buffer.from('value').toString('hex'))
    const read = new EntryHead()
    const page = pageOf(Buffer.concat([Buffer.from('before'), stored]))
    read.read(page, 6)
    expect(read).toMatchObject({
      staleAtMs: extras.staleAtMs,
      loadMs: extras.loadMs,
      isFailure: extras.isFailure,
    })
    expect(read.tags.map((tag) => Buffer.from(tag).toString())).toEqual(extras.tags.map(String))
    expect(page.bytes.toString('utf8', read.valueAt)).toBe('value')
  })

  it('is the same before a string and before bytes', () => {
    for (const extras of [plain, { ...plain, loadMs: 5 }]) {
      const text = Buffer.from(encodeEntry('grün', extras))
      expect(text).toEqual(Buffer.from(encodeEntry(Buffer.from('grün'), extras)))
    }
  })

  it('holds at most 255 tags', () => {
    const many = Array.from({ length: 256 }, (_, index) => Buffer.from(String(index)))

    expect(() => encodeEntry('', { ...plain, tags: many.slice(1) })).not.toThrow()
    expect(() => encodeEntry('', { ...plain, tags: many })).toThrow(
      new RangeError('An entry has 256 tags; the limit is 255'),
    )
  })
})
