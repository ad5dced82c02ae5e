import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ChunkSource } from '../../src/keydir/arena.ts'
import type { Keydir, KeyRange } from '../../src/keydir/keydir.ts'
import { NO_ENTRY } from '../../src/keydir/keydir.ts'
import {
  ALL,
  bytes,
  type Fields,
  fieldsOf,
  find,
  insert,
  KeySequence,
  keysOf,
  Random,
  text,
  update,
  within,
} from './model.ts'

/** Creates keydirs of the kind under test. */
export interface KeydirFactory {
  create(): Keydir
  /** Missing for a kind that has no image. */
  restore?: (meta: unknown, source: ChunkSource) => Keydir
  /** The bytes that a key may cost beyond its own, if the kind promises a limit. */
  readonly memoryLimit?: number
}

const SEED = Number(process.env.SEED ?? 1)

/**
 * Keys that have failed somewhere, or might: short, long, of zeros, of ones, sharing prefixes and
 * heads.
 */
const EDGE_KEYS = [
  [0],
  [0, 0],
  [0, 0, 0, 0, 0],
  [255],
  [255, 255, 255, 255],
  Array(9).fill(255),
  [97, 98],
  [97, 98, 0],
  [97, 98, 0, 0],
  [97, 98, 0, 0, 0, 0],
  [97, 98, 0, 1],
  [97, 98, 1],
  [97, 98, 99, 100],
  [97, 98, 99, 100, 0],
  [97, 98, 99, 100, 101],
  [127, 255, 255, 255],
  [127, 255, 255, 254],
  [128],
  Array(300).fill(7),
  [...Array(300).fill(7), 0],
  [...Array(299).fill(7), 8],
  Array(65_535).fill(170),
  [...Array(65_534).fill(170), 171],
].map((key) => Uint8Array.from(key))

/** Returns a key as words, padded with zeros. */
function wordsOf(key: Uint8Array): Uint32Array {
  const words = new Uint32Array(Math.ceil(key.length / 4))
  new Uint8Array(words.buffer).set(key)
  return words
}

/** Generators of random keys, each of another sort; small sets make keys repeat. */
const KEY_SHAPES: Record<string, (random: Random) => Uint8Array> = {
  'short keys of few letters': (random) => random.bytes(1 + random.below(5), 3),
  'decimal keys with a prefix': (random) =>
    bytes(`user:${String(random.below(3000)).padStart(6, '0')}`),
  'keys that are runs of one letter': (random) =>
    Uint8Array.from([...Array(random.below(50)).fill(97), random.below(256), random.below(3)]),
  'random keys of 16 bytes': (random) => random.bytes(16),
}

/** The suite that every kind of keydir passes. */
export function describeKeydir(kind: string, factory: KeydirFactory): void {
  describe(kind, () => {
    describe('entries by key', () => {
      it('returns no entry for a key that is not there', () => {
        const keydir = factory.create()

        expect(find(keydir, bytes('a'))).toBe(NO_ENTRY)
        insert(keydir, bytes('b'))
        expect(find(keydir, bytes('a'))).toBe(NO_ENTRY)
        expect(find(keydir, bytes('bb'))).toBe(NO_ENTRY)
      })

      it('refuses to insert a key twice, and to remove an entry twice', () => {
        const keydir = factory.create()
        const entry = insert(keydir, bytes('a'))

        expect(() => insert(keydir, bytes('a'))).toThrow(/is there/)
        keydir.entries.pin()
        keydir.remove(entry)
        expect(() => keydir.remove(entry)).toThrow(/not in the keydir/)
      })

      it('returns what was inserted, for every edge key', () => {
        const keydir = factory.create()
        const random = new Random(SEED)
        const inserted = EDGE_KEYS.map((key) => {
          const fields = random.fields()
          return { key, fields, entry: insert(keydir, key, fields) }
        })

        for (const { key, fields, entry } of inserted) {
          expect(find(keydir, key)).toBe(entry)
          expect(keydir.find(key, key.length, wordsOf(key))).toBe(entry)
          expect(fieldsOf(keydir, entry)).toEqual(fields)
          expect(keydir.entries.keySizeOf(entry)).toBe(key.length)
          expect(keydir.entries.equalsKey(entry, key, key.length)).toBe(true)
        }
        expect(keysOf(keydir)).toEqual(EDGE_KEYS.map(text).sort())
      })

      it('holds the largest numbers that a record may have', () => {
        const keydir = factory.create()
        const fields = {
          segment: 2 ** 31 - 1,
          offset: 2 ** 32 - 1,
          size: 2 ** 32 - 1,
          sequence: 2 ** 48 - 1,
          expiresAtMs: Number.MAX_SAFE_INTEGER,
        }

        const entry = insert(keydir, bytes('a'), fields)

        expect(fieldsOf(keydir, entry)).toEqual(fields)
      })

      it('reads only the first bytes of a larger buffer, and copies them', () => {
        const keydir = factory.create()
        const buffer = bytes('keys and more')

        const entry = keydir.insert(buffer, 4, 1, 2, 3, 4, 0)
        buffer.fill(0)

        expect(find(keydir, bytes('keys'))).toBe(entry)
        expect(keydir.find(bytes('keyskeys'), 4)).toBe(entry)
        expect(keysOf(keydir)).toEqual(['keys'])
      })

      it('finds a key that lies anywhere in a buffer', () => {
        const keydir = factory.create()
        const entry = insert(keydir, bytes('abcdefg'))
        const buffer = bytes('--abcdefg--')

        for (let at = 0; at < 5; at++) {
          const moved = new Uint8Array(32)
          moved.set(buffer.subarray(2, 9), at)
          expect(keydir.find(moved.subarray(at), 7)).toBe(entry)
        }
      })

      it('keeps an absence like any other entry', () => {
        const keydir = factory.create()

        const entry = insert(keydir, bytes('gone'), { size: 0, sequence: 9 })

        expect(find(keydir, bytes('gone'))).toBe(entry)
        expect(keydir.entries.sizeOf(entry)).toBe(0)
        expect(keysOf(keydir)).toEqual(['gone'])
        expect(keydir.size).toBe(1)
      })

      it('keeps the number of an entry whose record is moved', () => {
        const keydir = factory.create()
        const random = new Random(SEED)

        for (let index = 0; index < 300; index++) {
          const key = bytes(`key ${index}`)
          const fields = random.fields()
          const entry = insert(keydir, key, fields)
          const { segment, offset } = random.fields()
          expect(update(keydir, entry, { ...fields, segment, offset })).toBe(entry)
          expect(fieldsOf(keydir, find(keydir, key))).toEqual({ ...fields, segment, offset })
        }
      })

      it('moves an entry whose new values do not fit it', () => {
        const keydir = factory.create()
        const least = { segment: 7, offset: 8, size: 9, sequence: 10, expiresAtMs: 0 }

        for (const more of [{ size: 2 ** 16 }, { sequence: 2 ** 40 }]) {
          const key = bytes(Object.keys(more).join())
          const entry = insert(keydir, key, least)
          const moved = update(keydir, entry, { ...least, ...more })
          expect(moved).not.toBe(entry)
          expect(find(keydir, key)).toBe(moved)
          expect(fieldsOf(keydir, moved)).toEqual({ ...least, ...more })
          expect(update(keydir, moved, least)).toBe(moved)
          expect(fieldsOf(keydir, moved)).toEqual(least)
        }
        expect(keydir.size).toBe(2)
      })

      it('keeps the number of an entry that is updated, unless its expiry is added or removed', () => {
        const keydir = factory.create()
        const fields = { segment: 7, offset: 8, size: 9, sequence: 10, expiresAtMs: 0 }
        const entry = insert(keydir, bytes('a'))

        expect(update(keydir, entry, fields)).toBe(entry)
        const expiring = update(keydir, entry, { ...fields, expiresAtMs: 11 })
        expect(expiring).not.toBe(entry)
        expect(keydir.entries.expiringCount).toBe(1)
        expect(update(keydir, expiring, { ...fields, expiresAtMs: 12 })).toBe(expiring)
        const lasting = update(keydir, expiring, fields)

        expect(find(keydir, bytes('a'))).toBe(lasting)
        expect(fieldsOf(keydir, lasting)).toEqual(fields)
        expect(keydir.entries.expiringCount).toBe(0)
        expect(keydir.size).toBe(1)
      })

      it('inserts a key that was found missing, whatever was searched for or changed in between', () => {
        const keydir = factory.create()
        const keys = ['m', 'a', 'z', 'ma', 'l'].map(bytes)

        for (const key of keys) {
          find(keydir, key)
          for (const other of keys) find(keydir, other)
          find(keydir, key)
          const neighbour = Uint8Array.from([...key, 1])
          keydir.remove(insert(keydir, neighbour))
          insert(keydir, key)
        }

        expect(keysOf(keydir)).toEqual(keys.map(text).sort())
      })

      it('ranks a key the same each time, in 24 bits, and forgets what was searched for before', () => {
        const keydir = factory.create()
        const { rank } = keydir
        if (rank === undefined) return

        for (const key of EDGE_KEYS) {
          find(keydir, key)
          const first = rank.call(keydir, key, key.length)
          rank.call(keydir, bytes('another'), 7)
          insert(keydir, key)

          expect(Number.isInteger(first) && first >= 0 && first < 2 ** 24).toBe(true)
          find(keydir, bytes('missing'))
          expect(rank.call(keydir, key, key.length)).toBe(first)
          expect(() => insert(keydir, key)).toThrow(/is there/)
        }
        expect(keysOf(keydir)).toEqual(EDGE_KEYS.map(text).sort())
      })

      it('agrees with a map while runs of ascending keys are added, whatever is done in between', () => {
        const keydir = factory.create()
        const random = new Random(SEED)
        const model = new Set<string>()
        const decimal = () => `key ${String(random.below(5000)).padStart(5, '0')}`

        for (let run = 0; run < 60; run++) {
          const keys = Array.from({ length: random.below(200) }, decimal).sort()
          // Now and then after all keys that are there.
          const added = random.below(4) === 0 ? keys.map((key) => `last ${run} ${key}`) : keys
          for (const key of added) {
            const entry = find(keydir, bytes(key))
            expect(entry !== NO_ENTRY).toBe(model.has(key))
            if (entry === NO_ENTRY) insert(keydir, bytes(key))
            model.add(key)
          }
          for (const key of Array.from({ length: random.below(20) }, decimal)) {
            const entry = find(keydir, bytes(key))
            if (entry === NO_ENTRY) continue
            if (random.below(2) === 0) keydir.remove(entry)
            else update(keydir, entry, { ...fieldsOf(keydir, entry), expiresAtMs: run })
            if (find(keydir, bytes(key)) === NO_ENTRY) model.delete(key)
          }
        }

        expect(keydir.size).toBe(model.size)
        expect(keysOf(keydir)).toEqual([...model].sort())
      })

      it('agrees with a map after any few operations', () => {
        const key = fc.uint8Array({ minLength: 1, maxLength: 6, max: 2 })
        const step = fc.record({
          key,
          remove: fc.boolean(),
          expiresAtMs: fc.nat(1),
          size: fc.constantFrom(1, 2 ** 16),
        })

        fc.assert(
          fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
            const keydir = factory.create()
            const model = new Map<string, { size: number; expiresAtMs: number }>()
            for (const { key, remove, expiresAtMs, size } of steps) {
              const entry = find(keydir, key)
              const fields = { segment: 1, offset: 0, size, sequence: 1, expiresAtMs }
              if (entry === NO_ENTRY) insert(keydir, key, fields)
              else if (remove) keydir.remove(entry)
              else update(keydir, entry, fields)
              if (entry !== NO_ENTRY && remove) model.delete(text(key))
              else model.set(text(key), { size, expiresAtMs })
            }
            expect(keysOf(keydir)).toEqual([...model.keys()].sort())
            for (const [key, held] of model) {
              const entry = find(keydir, bytes(key))
              expect(fieldsOf(keydir, entry)).toMatchObject(held)
            }
          }),
          { seed: SEED, numRuns: 150 },
        )
      })

      it.each(Object.keys(KEY_SHAPES))(
        'agrees with a map through random operations on %s',
        (shape) => {
          const random = new Random(SEED)
          const makeKey = KEY_SHAPES[shape] as (random: Random) => Uint8Array
          const { keydir, model } = churn(factory, random, makeKey, 30_000)

          expect(keydir.size).toBe(model.size)
          expect(keysOf(keydir)).toEqual([...model.keys()].sort())
        },
      )
    })

    describe('cursors', () => {
      const sorted = ['a', 'aa', 'ab', 'ab\0', 'b', 'c', 'ca', 'd\xff', 'd\xff\xff', 'e'].sort()
      const bounds = [undefined, '\0', 'a', 'ab', 'ab\0', 'ab\0\0', 'bz', 'd\xff\xff', 'e', 'f']

      const ranges: KeyRange[] = []
      for (const lower of bounds) {
        for (const upper of bounds) {
          for (const flags of [0, 1, 2, 3, 4, 5, 6, 7]) {
            ranges.push({
              lower: lower === undefined ? undefined : bytes(lower),
              upper: upper === undefined ? undefined : bytes(upper),
              lowerInclusive: (flags & 1) !== 0,
              upperInclusive: (flags & 2) !== 0,
              reverse: (flags & 4) !== 0,
            })
          }
        }
      }

      it('end at once if the keydir is empty', () => {
        const keydir = factory.create()

        expect(keysOf(keydir)).toEqual([])
        expect(keysOf(keydir, { reverse: true })).toEqual([])
        expect(keysOf(keydir, { lower: bytes('a'), upper: bytes('b') })).toEqual([])
      })

      it('return the entries of a range, for every kind of bound in either direction', () => {
        const keydir = factory.create()
        for (const key of sorted) insert(keydir, bytes(key))

        for (const range of ranges) {
          expect({ range, keys: keysOf(keydir, range) }).toEqual({
            range,
            keys: within(sorted, range),
          })
        }
      })

      it('continue beyond any key, for every kind of bound in either direction', () => {
        const keydir = factory.create()
        for (const key of sorted) insert(keydir, bytes(key))
        const wrong: unknown[] = []

        for (const range of ranges) {
          const keys = within(sorted, range)
          const cursor = keydir.cursor(range)
          for (const key of [...sorted, '\0', 'ac', 'z']) {
            cursor.seekBeyond(bytes(`${key}behind`), key.length)
            const entry = cursor.next()
            const next = entry === NO_ENTRY ? undefined : text(keydir.entries.keyView(entry))
            const expected = keys.find((other) => (range.reverse ? other < key : other > key))
            if (next !== expected) wrong.push({ range, key, next, expected })
          }
        }

        expect(wrong).toEqual([])
      })

      it('stay at the end once they have reached it', () => {
        const keydir = factory.create()
        insert(keydir, bytes('a'))
        const cursor = keydir.cursor(ALL)

        cursor.next()

        expect([cursor.next(), cursor.next()]).toEqual([NO_ENTRY, NO_ENTRY])
      })

      it.each([false, true])(
        'continue with the keys that are left when others are removed, reverse: %s',
        (reverse) => {
          const keydir = factory.create()
          const random = new Random(SEED)
          const left = new Set<string>()
          while (left.size < 3000) {
            const key = random.bytes(1 + random.below(4))
            if (find(keydir, key) === NO_ENTRY) insert(keydir, key)
            left.add(text(key))
          }
          keydir.entries.pin()
          const cursor = keydir.cursor({ ...ALL, reverse })
          const given: string[] = []

          for (let entry = cursor.next(); entry !== NO_ENTRY; entry = cursor.next()) {
            const key = text(keydir.entries.keyView(entry))
            given.push(key)
            // Other keys are removed, and so is the key itself; the cursor still continues from its
            // bytes.
            for (const other of left) {
              if (random.below(2000) === 0 && other !== key) {
                keydir.remove(find(keydir, bytes(other)))
                left.delete(other)
              }
            }
            if (random.below(3) === 0) {
              keydir.remove(entry)
              left.delete(key)
            }
            const view = keydir.entries.keyView(entry)
            cursor.seekBeyond(view, view.length)
          }
          keydir.entries.unpin()

          const step = reverse ? -1 : 1
          const inOrder = given.every((key, i) => i === 0 || compare(given[i - 1], key) === -step)
          expect(inOrder).toBe(true)
          expect(given).toEqual(expect.arrayContaining([...left]))
        },
      )

      it('see keys that are added ahead of them, if the keydir is ordered', () => {
        const keydir = factory.create()
        for (const key of ['a', 'c', 'e']) insert(keydir, bytes(key))
        const cursor = keydir.cursor(ALL)
        cursor.next()

        insert(keydir, bytes('b'))
        cursor.seekBeyond(bytes('a'), 1)

        const next = text(keydir.entries.keyView(cursor.next()))
        expect(next).toBe(keydir.ordered ? 'b' : 'c')
      })

      it('sort runs of keys that share heads and prefixes', () => {
        const keydir = factory.create()
        const keys = new Set<string>()
        for (let i = 0; i < 200; i++) {
          keys.add('\0'.repeat(i + 1))
          keys.add(`prefix\0${'\0'.repeat(i % 50)}`)
          keys.add(`prefix${i}`)
          keys.add(`${'long'.repeat(60)}${i % 14}`)
          keys.add(`${'long'.repeat(60)}${'\xff'.repeat(i)}`)
        }
        for (const key of keys) insert(keydir, bytes(key))

        expect(keysOf(keydir)).toEqual([...keys].sort())
      })
    })

    describe('walks', () => {
      it('visit each entry that stays exactly once, whatever else changes', () => {
        const keydir = factory.create()
        const random = new Random(SEED)
        const staying = new Set<string>()
        const passing: Uint8Array[] = []
        for (let i = 0; i < 4000; i++) {
          const key = bytes(`${i}${'x'.repeat(random.below(40))}`)
          insert(keydir, key, { expiresAtMs: random.below(2) })
          if (i % 2 === 0) staying.add(text(key))
          else passing.push(key)
        }
        const visited: string[] = []
        let added = 0

        let position = 0
        while (position >= 0) {
          position = keydir.entries.walk(position, 16, (entry) => {
            const key = text(keydir.entries.keyView(entry))
            if (staying.has(key)) visited.push(key)
          })
          const removed = passing.pop()
          if (removed !== undefined) keydir.remove(find(keydir, removed))
          insert(keydir, bytes(`new ${added++}`))
        }

        expect(visited.length).toBe(staying.size)
        expect(new Set(visited)).toEqual(staying)
      })

      it('let the visitor remove what it visits', () => {
        const keydir = factory.create()
        for (let i = 0; i < 1000; i++) insert(keydir, bytes(`key ${i}`), { expiresAtMs: i % 2 })

        for (let position = 0; position >= 0; ) {
          position = keydir.entries.walk(position, 10, (entry) => keydir.remove(entry))
        }

        expect(keydir.size).toBe(0)
        expect(keydir.entries.expiringCount).toBe(0)
        expect(keysOf(keydir)).toEqual([])
      })
    })

    describe('pins', () => {
      it('keep the keys of removed entries readable, and their memory unused', () => {
        const keydir = factory.create()
        const entry = insert(keydir, bytes('first'))
        const expiring = insert(keydir, bytes('other'), { expiresAtMs: 5 })
        keydir.entries.pin()
        keydir.entries.pin()

        keydir.remove(entry)
        keydir.remove(expiring)
        keydir.entries.unpin()
        const later = [insert(keydir, bytes('later')), insert(keydir, bytes('third'))]

        expect(keydir.entries.isLive(entry)).toBe(false)
        expect(text(keydir.entries.keyView(entry))).toBe('first')
        expect(text(keydir.entries.keyView(expiring))).toBe('other')
        expect(later).not.toContain(entry)
        keydir.entries.unpin()
        expect(insert(keydir, bytes('fifth'))).toBe(entry)
        expect(insert(keydir, bytes('sixth'), { expiresAtMs: 6 })).toBe(expiring)
      })
    })

    describe('memory', () => {
      it('starts small', () => {
        expect(factory.create().byteSize).toBeLessThan(32_768)
      })

      it('does not grow when everything is removed and added again', () => {
        const keydir = factory.create()
        const sequence = new KeySequence()
        const fill = (first: number) => {
          for (let i = 0; i < 50_000; i++) insert(keydir, sequence.set(first + i))
        }
        const clear = (first: number) => {
          for (let i = 0; i < 50_000; i++) keydir.remove(find(keydir, sequence.set(first + i)))
        }

        fill(0)
        clear(0)
        expect(keydir.size).toBe(0)
        expect(keysOf(keydir)).toEqual([])
        fill(100_000)
        const size = keydir.byteSize
        for (let round = 2; round < 5; round++) {
          clear((round - 1) * 100_000)
          fill(round * 100_000)
        }

        // Random keys need a little more of one size of node or tower, and a little less of
        // another, each time.
        expect(keydir.byteSize).toBeLessThanOrEqual(size * 1.03)
      })

      const limit = factory.memoryLimit
      if (limit === undefined) return
      it(`takes at most ${limit} bytes for each key beyond its own`, () => {
        const keydir = factory.create()
        const sequence = new KeySequence()
        const measured: Record<number, number> = {}

        for (let i = 0; i < 1_000_000; i++) {
          insert(keydir, sequence.set(i))
          if (i + 1 === 100_000 || i + 1 === 1_000_000) {
            measured[i + 1] = keydir.byteSize / (i + 1) - sequence.key.length
          }
        }

        expect(measured[100_000]).toBeLessThanOrEqual(limit)
        expect(measured[1_000_000]).toBeLessThanOrEqual(limit)
      })
    })

    const { restore } = factory
    if (restore === undefined) {
      it('has no image', () => {
        expect(factory.create().image()).toBeUndefined()
      })
      return
    }

    describe('images', () => {
      it('restore an empty keydir', () => {
        const keydir = reopen(factory.create(), restore).keydir

        expect(keydir.size).toBe(0)
        insert(keydir, bytes('a'))
        expect(keysOf(keydir)).toEqual(['a'])
      })

      it.each(Object.keys(KEY_SHAPES))(
        'restore a keydir that passes random operations on %s',
        (shape) => {
          const random = new Random(SEED)
          const makeKey = KEY_SHAPES[shape] as (random: Random) => Uint8Array
          let { keydir, model } = churn(factory, random, makeKey, 10_000)

          for (let round = 0; round < 4; round++) {
            keydir = reopen(keydir, restore, round).keydir
            churn({ create: () => keydir }, random, makeKey, 3000, model)
            expect(keysOf(keydir)).toEqual([...model.keys()].sort())
          }
        },
      )

      it('are read chunk by chunk, each when it is first touched', () => {
        const keydir = factory.create()
        const sequence = new KeySequence()
        for (let i = 0; i < 200_000; i++) insert(keydir, sequence.set(i))

        const { keydir: restored, calls } = reopen(keydir, restore)
        expect(calls).toEqual([])
        expect(restored.size).toBe(200_000)

        const entry = find(restored, sequence.set(77))
        expect(restored.entries.equalsKey(entry, sequence.key, 16)).toBe(true)
        const touched = calls.length
        expect(touched).toBeLessThan(12)
        for (let i = 0; i < 200_000; i++) find(restored, sequence.set(i))
        expect(new Set(calls).size).toBe(calls.length)
        expect(calls.length).toBeGreaterThan(touched)
      })

      it('let a bounded cursor touch little outside of its range, if the keydir is ordered', () => {
        const keydir = factory.create()
        // Such long keys fill many chunks.
        const padded = (key: string) => key.padEnd(80, '.')
        for (let i = 0; i < 200_000; i++) insert(keydir, bytes(padded(String(i).padStart(8, '0'))))
        const { keydir: restored, calls } = reopen(keydir, restore)

        const keys = keysOf(restored, { lower: bytes('000001'), upper: bytes('0000010~') })

        expect(keys.map((key) => key.slice(0, 8))).toEqual([
          '00000100',
          '00000101',
          '00000102',
          '00000103',
          '00000104',
          '00000105',
          '00000106',
          '00000107',
          '00000108',
          '00000109',
        ])
        const chunks = keydir.entries.arena.chunkCount
        const loaded = calls.filter((call) => call.startsWith('0:')).length
        expect(chunks).toBeGreaterThan(5)
        expect(loaded < chunks).toBe(restored.ordered)
      })

      it('are refused if a chunk is cut short', () => {
        const keydir = factory.create()
        for (let i = 0; i < 1000; i++) insert(keydir, bytes(`key ${i}`))
        const image = keydir.image()
        const meta = JSON.parse(JSON.stringify(image?.meta))

        const restored = restore(meta, (arena, chunk) => {
          const given = image?.arenas[arena]?.[chunk] as Uint8Array
          return given.slice(0, given.length - 1)
        })

        expect(() => find(restored, bytes('key 1'))).toThrow(RangeError)
      })

      it('pass on what their source throws', () => {
        const keydir = factory.create()
        for (let i = 0; i < 1000; i++) insert(keydir, bytes(`key ${i}`))
        const meta = JSON.parse(JSON.stringify(keydir.image()?.meta))
        const restored = restore(meta, () => {
          throw new Error('The checkpoint is damaged')
        })

        expect(() => find(restored, bytes('key 1'))).toThrow('The checkpoint is damaged')
        expect(() => insert(restored, bytes('new'))).toThrow('The checkpoint is damaged')
        expect(() => restored.entries.walk(0, 10, () => {})).toThrow('The checkpoint is damaged')
      })

      it('are refused, or end without a hang, if any number of their meta is changed', () => {
        const keydir = factory.create()
        const removed: Uint8Array[] = []
        for (let i = 0; i < 3000; i++) insert(keydir, bytes(`key ${i}`), { expiresAtMs: i % 2 })
        for (let i = 0; i < 3000; i += 3) removed.push(bytes(`key ${i}`))
        for (const key of removed) keydir.remove(find(keydir, key))
        const image = keydir.image()
        const meta = JSON.stringify(image?.meta)
        let refused = 0

        for (const path of numbersOf(JSON.parse(meta))) {
          for (const value of [
            -1,
            0,
            1,
            3,
            1.5,
            77_777,
            2 ** 31,
            2 ** 40,
            2 ** 60,
            null,
            '1',
            [],
          ]) {
            const changed = JSON.parse(meta)
            setAt(changed, path, value)
            try {
              const restored = restore(changed, (arena, chunk) => {
                const given = image?.arenas[arena]?.[chunk]
                if (given === undefined) throw new RangeError('There is no such chunk')
                return given.slice()
              })
              find(restored, bytes('key 1'))
              for (let i = 0; i < 100; i++) insert(restored, bytes(`other ${i}`))
            } catch (error) {
              expect(error).toBeInstanceOf(Error)
              refused++
            }
          }
        }

        expect(refused).toBeGreaterThan(20)
      })

      it.each(['null', '7', '"meta"', '[]', '{}'])('are refused if their meta is %s', (json) => {
        expect(() => restore(JSON.parse(json), () => new Uint8Array())).toThrow(RangeError)
      })

      it.each([
        ['in another byte order', 'be 2'],
        ['in another way', 'le 1'],
        ['in an unknown way', undefined],
      ])('are refused if their entries are laid out %s', (_, layout) => {
        const { meta } = factory.create().image() as { meta: { entries: object } }
        const other = { ...meta, entries: { ...meta.entries, layout } }

        expect(() => restore(other, () => new Uint8Array())).toThrow(/laid out otherwise/)
      })
    })
  })
}

/**
 * Changes a keydir and a map alike, comparing at each step; the keydir grows and shrinks in turn.
 */
function churn(
  factory: Pick<KeydirFactory, 'create'>,
  random: Random,
  makeKey: (random: Random) => Uint8Array,
  stepCount: number,
  model = new Map<string, Fields>(),
): { keydir: Keydir; model: Map<string, Fields> } {
  const keydir = factory.create()
  const known = [...model.keys()].map(bytes)
  for (let step = 0; step < stepCount; step++) {
    const growing = Math.floor(step / 5000) % 2 === 0
    const again = known.length > 0 && random.below(3) > 0
    const key = again ? (known[random.below(known.length)] as Uint8Array) : makeKey(random)
    const entry = find(keydir, key)
    const expected = model.get(text(key))
    if (expected === undefined ? entry !== NO_ENTRY : !same(fieldsOf(keydir, entry), expected)) {
      throw new Error(`Step ${step} of seed ${SEED} finds something else`)
    }
    const remove = random.below(100) < (growing ? 15 : 75)
    const fields = random.fields()
    if (entry === NO_ENTRY) {
      if (remove) continue
      // Now and then another key is searched for before the insert that a find was to prepare.
      if (random.below(4) === 0) find(keydir, makeKey(random))
      insert(keydir, key, fields)
      model.set(text(key), fields)
      known.push(key)
    } else if (remove) {
      keydir.remove(entry)
      model.delete(text(key))
    } else {
      update(keydir, entry, fields)
      model.set(text(key), fields)
    }
    if (step % 3000 === 2999) compareRanges(keydir, model, random, makeKey)
  }
  return { keydir, model }
}

function compareRanges(
  keydir: Keydir,
  model: Map<string, Fields>,
  random: Random,
  makeKey: (random: Random) => Uint8Array,
): void {
  const sorted = [...model.keys()].sort()
  for (let i = 0; i < 10; i++) {
    const range = {
      lower: random.below(4) === 0 ? undefined : makeKey(random),
      lowerInclusive: random.below(2) === 0,
      upper: random.below(4) === 0 ? undefined : makeKey(random),
      upperInclusive: random.below(2) === 0,
      reverse: random.below(2) === 0,
    }
    expect(keysOf(keydir, range)).toEqual(within(sorted, range))
  }
  let count = 0
  for (let position = 0; position >= 0; ) {
    position = keydir.entries.walk(position, 50, () => count++)
  }
  expect(count).toBe(model.size)
}

/**
 * A keydir restored from a copy of another one's image, and the chunks that it requested, as
 * `arena:chunk`.
 */
function reopen(
  keydir: Keydir,
  restore: NonNullable<KeydirFactory['restore']>,
  misalignment = 0,
): { keydir: Keydir; calls: string[] } {
  const image = keydir.image()
  if (image === undefined) throw new Error('There is no image')
  const arenas = image.arenas.map((chunks) =>
    chunks.map((chunk) => {
      const buffer = new Uint8Array(chunk.length + misalignment)
      buffer.set(chunk, misalignment)
      return buffer.subarray(misalignment)
    }),
  )
  const calls: string[] = []
  const restored = restore(JSON.parse(JSON.stringify(image.meta)), (arena, chunk) => {
    calls.push(`${arena}:${chunk}`)
    return arenas[arena]?.[chunk] as Uint8Array
  })
  return { keydir: restored, calls }
}

/** Returns the paths of all numbers in a plain value. */
function numbersOf(value: unknown, path: string[] = []): string[][] {
  if (typeof value === 'number') return [path]
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, part]) => numbersOf(part, [...path, name]))
}

function setAt(target: unknown, path: readonly string[], value: unknown): void {
  let holder = target as Record<string, unknown>
  for (const name of path.slice(0, -1)) holder = holder[name] as Record<string, unknown>
  holder[path.at(-1) as string] = value
}

function same(a: Fields, b: Fields): boolean {
  return (
    a.segment === b.segment &&
    a.offset === b.offset &&
    a.size === b.size &&
    a.sequence === b.sequence &&
    a.expiresAtMs === b.expiresAtMs
  )
}

function compare(a: string | undefined, b: string): number {
  return a === undefined || a === b ? 0 : a < b ? -1 : 1
}
