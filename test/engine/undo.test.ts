/** The log that takes a failed group back out of the keydir. */

import { describe, expect, it } from 'vitest'
import { UndoLog } from '../../src/engine/undo.ts'
import { pageOf } from '../../src/format/record.ts'
import { createKeydir } from '../../src/keydir/create.ts'
import { NO_ENTRY } from '../../src/keydir/keydir.ts'
import type { Segment } from '../../src/segment/segment.ts'
import type { Segments } from '../../src/segment/segments.ts'
import { SegmentUsage } from '../../src/segment/usage.ts'
import { put, tombstone } from '../support/records.ts'

/** The segment that the group is written to. The records that it replaces are in the one before. */
const ACTIVE = 2
const KEYS = ['a', 'b', 'c']

/** A keydir of three keys, and a group that replaces them. */
class Bench {
  readonly keydir = createKeydir('btree')
  readonly undo = new UndoLog()
  readonly replaced = new SegmentUsage()
  readonly #records: Buffer[] = []

  constructor() {
    for (const [index, key] of KEYS.entries()) {
      this.keydir.insert(Buffer.from(key), 1, 1, 100 + index, 30, 10 + index, 1000 + index)
    }
  }

  remember(key: string, number = this.#records.length): void {
    this.undo.remember(number, this.keydir, this.#find(key))
  }

  put(key: string): void {
    this.remember(key)
    const number = this.#records.length
    const entry = this.#find(key)
    const place = [ACTIVE, 500 + number, 40, 50 + number, 0] as const
    if (entry === NO_ENTRY) this.keydir.insert(Buffer.from(key), 1, ...place)
    else {
      this.keydir.update(entry, ...place)
      this.replaced.kill(30)
    }
    this.#records.push(put(key, 'new', 50 + number))
  }

  remove(key: string): void {
    this.remember(key)
    this.keydir.remove(this.#find(key))
    this.replaced.kill(30)
    this.#records.push(tombstone(key, 50 + this.#records.length))
  }

  /** Takes back all records from `firstNumber` on. */
  rollBack(firstNumber = 0): void {
    const page = pageOf(Buffer.concat(this.#records))
    const start = Buffer.concat(this.#records.slice(0, firstNumber)).length
    const end = page.bytes.length
    const segments = { get: () => ({ usage: this.replaced }) as unknown as Segment }
    this.undo.rollBack(
      this.keydir,
      segments as unknown as Segments,
      { page, start, end, firstNumber },
      undefined,
    )
    this.#records.length = firstNumber
  }

  /** The keydir's entry for each key. */
  get state(): readonly (readonly (string | number)[])[] {
    const { entries } = this.keydir
    return [...KEYS, 'd', 'e'].flatMap((key) => {
      const entry = this.#find(key)
      if (entry === NO_ENTRY) return []
      const place = [entries.segmentOf(entry), entries.offsetOf(entry), entries.sizeOf(entry)]
      return [[key, ...place, entries.sequenceOf(entry), entries.expiresAtOf(entry)]]
    })
  }

  #find(key: string): number {
    return this.keydir.find(Buffer.from(key), 1)
  }
}

describe('an undo log', () => {
  it('puts back everything that the records of a group replaced', () => {
    const bench = new Bench()
    const before = bench.state

    bench.put('a')
    bench.remove('b')
    bench.put('d')
    bench.put('c')
    bench.put('b')
    bench.rollBack()

    expect(bench.state).toEqual(before)
    expect(bench.replaced).toMatchObject({ deadPutCount: 0, deadBytes: 0 })
  })

  it('takes back the last records alone, and those before them later', () => {
    const bench = new Bench()
    const before = bench.state

    bench.put('a')
    const between = bench.state
    bench.remove('b')
    bench.put('a')
    bench.rollBack(1)
    expect(bench.state).toEqual(between)
    bench.put('c')
    bench.rollBack()

    expect(bench.state).toEqual(before)
  })

  it('forgets a record that was never made', () => {
    const bench = new Bench()
    const before = bench.state

    bench.put('a')
    bench.remember('c')
    bench.put('d')
    bench.remember('b')
    bench.rollBack()

    expect(bench.state).toEqual(before)
    bench.put('e')
    bench.rollBack()
    expect(bench.state).toEqual(before)
  })
})
