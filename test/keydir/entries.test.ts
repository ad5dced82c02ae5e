import { describe, expect, it } from 'vitest'
import { Entries, Location } from '../../src/keydir/entries.ts'
import type { Entry } from '../../src/keydir/keydir.ts'
import { SearchKey } from '../../src/keydir/search-key.ts'
import { bytes, text } from './model.ts'

const FUTURE_MS = 2 ** 48 - 1
const MAX_SEGMENT = 2 ** 31 - 1

function allocate(entries: Entries, key: Uint8Array, expiresAtMs = 0): Entry {
  const searched = new SearchKey()
  searched.set(key, key.length)
  return entries.allocate(searched, 1, 2, 3, 4, expiresAtMs)
}

/** Returns all fields of an entry. */
function held(entries: Entries, entry: Entry) {
  const location = new Location()
  entries.locate(entry, location)
  expect(location).toEqual({
    segment: entries.segmentOf(entry),
    offset: entries.offsetOf(entry),
    size: entries.sizeOf(entry),
    keySize: entries.keySizeOf(entry),
    sequence: entries.sequenceOf(entry),
  })
  return {
    key: entries.keyView(entry),
    segment: entries.segmentOf(entry),
    offset: entries.offsetOf(entry),
    size: entries.sizeOf(entry),
    sequence: entries.sequenceOf(entry),
    expiresAtMs: entries.expiresAtOf(entry),
  }
}

function walked(entries: Entries, limit: number): string[] {
  const keys: string[] = []
  for (let position = 0; position >= 0; ) {
    position = entries.walk(position, limit, (entry) => keys.push(text(entries.keyView(entry))))
  }
  return keys
}

describe('entries', () => {
  it('take 16 bytes besides the key, and 8 more for an expiry', () => {
    const entries = new Entries()
    const before = entries.arena.used

    allocate(entries, bytes('sixteen bytes!!!'))
    expect(entries.arena.used - before).toBe((16 + 16) / 4)
    allocate(entries, bytes('sixteen bytes!!!'), 1)
    expect(entries.arena.used - before).toBe((16 + 16) / 4 + (16 + 16 + 8) / 4)
  })

  it('with keys of 16 bytes lie within cache lines', () => {
    const entries = new Entries()
    for (let index = 0; index < 10; index++) {
      expect(allocate(entries, bytes('sixteen bytes!!!')) % 8).toBe(0)
    }
  })

  describe.each([0, FUTURE_MS])('that expire at %i', (expiresAtMs) => {
    it.each([
      ['the smallest entry', 1, 0, 0, 0],
      ['the largest narrow entry', 255, 0xffff, 2 ** 40 - 1, 0],
      ['a long key', 256, 0xffff, 2 ** 40 - 1, 8],
      ['a large record', 255, 0x10000, 2 ** 40 - 1, 8],
      ['a high sequence', 255, 0xffff, 2 ** 40, 8],
      ['the largest entry', 65_535, 2 ** 32 - 1, 2 ** 48 - 1, 8],
    ])('hold %s', (_, keySize, size, sequence, more) => {
      const entries = new Entries()
      const key = new Uint8Array(keySize).fill(7)
      const searched = new SearchKey()
      searched.set(key, key.length)
      const before = entries.arena.used
      const entry = entries.allocate(
        searched,
        MAX_SEGMENT,
        2 ** 32 - 1,
        size,
        sequence,
        expiresAtMs,
      )
      const expected = { segment: MAX_SEGMENT, offset: 2 ** 32 - 1, size, sequence, expiresAtMs }
      const expiry = expiresAtMs > 0 ? 8 : 0

      expect(entries.arena.used - before).toBe(
        (16 + more + Math.ceil(keySize / 4) * 4 + expiry) / 4,
      )
      expect(held(entries, entry)).toEqual({ key, ...expected })
      expect(entries.equalsSearch(entry, searched)).toBe(true)
      expect(walked(entries, 1)).toEqual([text(key)])
      // Moved to any offset of any segment, and to the smallest record, without a new entry.
      for (const segment of [1, MAX_SEGMENT]) {
        expect(entries.fits(entry, size, sequence, expiresAtMs)).toBe(true)
        entries.set(entry, segment, 0, size, sequence, expiresAtMs)
        expect(held(entries, entry)).toEqual({ key, ...expected, segment, offset: 0 })
      }
      entries.set(entry, 1, 2, 0, 3, expiresAtMs)
      expect(held(entries, entry)).toEqual({
        key,
        segment: 1,
        offset: 2,
        size: 0,
        sequence: 3,
        expiresAtMs,
      })
      entries.free(entry)
      expect(entries.allocate(searched, 1, 2, size, sequence, expiresAtMs)).toBe(entry)
    })

    it('do not fit values that they were not created for', () => {
      const entries = new Entries()
      const short = allocate(entries, bytes('short'), expiresAtMs)
      const wide = allocate(entries, new Uint8Array(256).fill(1), expiresAtMs)

      expect(entries.fits(short, 0xffff, 2 ** 40 - 1, expiresAtMs)).toBe(true)
      expect(entries.fits(short, 0x10000, 1, expiresAtMs)).toBe(false)
      expect(entries.fits(short, 1, 2 ** 40, expiresAtMs)).toBe(false)
      expect(entries.fits(wide, 2 ** 32 - 1, 2 ** 48 - 1, expiresAtMs)).toBe(true)
      for (const entry of [short, wide]) {
        expect(entries.fits(entry, 1, 1, FUTURE_MS - expiresAtMs)).toBe(false)
      }
    })
  })

  it('never have the number 0', () => {
    expect(allocate(new Entries(), bytes('a'))).toBeGreaterThan(0)
  })

  it('reuse the block of a freed entry for the next one of its size, expiring or not', () => {
    const entries = new Entries()
    const lasting = allocate(entries, bytes('a'.repeat(12)))
    const expiring = allocate(entries, bytes('b'.repeat(4)), 1)

    entries.free(lasting)
    entries.free(expiring)

    // Both take seven words, whatever they were before.
    const reused = [
      allocate(entries, bytes('c'.repeat(4)), 7),
      allocate(entries, bytes('d'.repeat(9))),
    ]
    expect(new Set(reused)).toEqual(new Set([lasting, expiring]))
    expect(entries.expiresAtOf(reused[0] as Entry)).toBe(7)
    expect(entries.expiresAtOf(reused[1] as Entry)).toBe(0)
    expect(walked(entries, 1).sort()).toEqual(['c'.repeat(4), 'd'.repeat(9)])
  })

  it('count the live ones and the expiring ones', () => {
    const entries = new Entries()
    const first = allocate(entries, bytes('a'), 5)
    allocate(entries, bytes('b'), 6)
    allocate(entries, bytes('c'))

    entries.free(first)

    expect([entries.count, entries.expiringCount]).toEqual([2, 1])
  })

  it('are walked across chunks whose ends are unused', () => {
    const entries = new Entries()
    const keys: string[] = []
    for (let i = 0; i < 120; i++) {
      const key = `${i}`.padEnd(40_000 + i * 155, 'x')
      keys.push(key)
      allocate(entries, bytes(key))
    }

    expect(entries.arena.chunkCount).toBeGreaterThan(2)
    for (const limit of [1, 7, 1000]) expect(walked(entries, limit)).toEqual(keys)
  })

  it('are walked to the end at once if there are none', () => {
    expect(new Entries().walk(0, 10, () => {})).toBe(-1)
  })

  it('compare with keys and with each other', () => {
    const entries = new Entries()
    const small = allocate(entries, bytes('ab'))
    const large = allocate(entries, bytes('ab\0'))

    expect(entries.compareKey(small, bytes('ab?'), 2)).toBe(0)
    expect(entries.compareKey(small, bytes('ab\0'), 3)).toBeLessThan(0)
    expect(entries.compareKey(large, bytes('aa\xff\xff'), 4)).toBeGreaterThan(0)
    expect(entries.compare(small, large)).toBeLessThan(0)
    expect(entries.compare(large, small)).toBeGreaterThan(0)
    expect(entries.equalsKey(small, bytes('ab\0'), 2)).toBe(true)
    expect(entries.equalsKey(small, bytes('ab\0'), 3)).toBe(false)
    expect(entries.equalsKey(small, bytes('ac'), 2)).toBe(false)
  })

  it('copy their keys to a position of a buffer', () => {
    const entries = new Entries()
    const entry = allocate(entries, bytes('key'))
    const target = bytes('------')

    expect(entries.copyKey(entry, target, 2)).toBe(3)
    expect(text(target)).toBe('--key-')
  })

  it('keep the ones freed while pinned through an image', () => {
    const entries = new Entries()
    const first = allocate(entries, bytes('first'))
    entries.pin()
    entries.free(first)

    const image = entries.arena.image().map((chunk) => chunk.slice())
    const meta = JSON.parse(JSON.stringify(entries.meta()))
    const restored = Entries.restore(meta, 0, (_, chunk) => image[chunk] as Uint8Array)

    expect(allocate(restored, bytes('again'))).toBe(first)
  })

  it('give back the ones freed while pinned, in as many steps as that takes', () => {
    const entries = new Entries()
    const blocks = Array.from({ length: 100 }, (_, i) => allocate(entries, bytes(`key ${i + 100}`)))
    entries.pin()
    for (const block of blocks.slice(0, 50)) entries.free(block)
    entries.unpin()
    entries.pin()
    for (const block of blocks.slice(50)) entries.free(block)
    entries.unpin()

    const again = Array.from({ length: 100 }, (_, i) => allocate(entries, bytes(`new ${i + 100}`)))

    expect(again.sort()).toEqual(blocks.sort())
  })

  it('keep the ones freed since a pin apart from those freed before it', () => {
    const entries = new Entries()
    const [early, late] = ['early', 'later'].map((key) => allocate(entries, bytes(key)))
    entries.pin()
    entries.free(early as Entry)
    entries.unpin()
    entries.pin()
    entries.free(late as Entry)

    const added = ['first', 'other', 'third'].map((key) => allocate(entries, bytes(key)))

    expect(added).toContain(early)
    expect(added).not.toContain(late)
    expect(text(entries.keyView(late as Entry))).toBe('later')
  })

  it('reach the end of freed blocks that link in a ring', () => {
    const entries = new Entries()
    const blocks = ['first', 'other'].map((key) => allocate(entries, bytes(key)))
    entries.pin()
    for (const block of blocks) entries.free(block)
    entries.arena.chunkAt(0)[(blocks[0] as Entry) + 1] = blocks[1] as Entry
    entries.unpin()

    for (let i = 0; i < 10; i++) allocate(entries, bytes(`longer key ${i}`))

    expect(entries.count).toBe(10)
  })
})
