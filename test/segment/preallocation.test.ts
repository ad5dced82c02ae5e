/** Preallocation at the end of the active segment. */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { StoreError } from '../../src/errors.ts'
import { segmentName } from '../../src/format/names.ts'
import { MAX_PREALLOCATION_SIZE, PUT } from '../../src/format/record.ts'
import { HeldFiles } from '../../src/io/held-files.ts'
import { heldContext } from '../../src/segment/segment.ts'
import { Segments } from '../../src/segment/segments.ts'
import { STAGE_SIZE, Writer } from '../../src/segment/writer.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { EMPTY_MANIFEST, put, STORE_ID } from '../support/records.ts'

const DIRECTORY = '/disk/preallocation'
const KIB = 1024

/** A writer, and the size of what is preallocated after what it has written. */
class Bench {
  readonly files = new FaultyFiles(1)
  readonly segments: Segments
  readonly writer: Writer
  #sequence = 1

  constructor(maxSegmentBytes = 1024 * KIB, syncsEach = true) {
    this.files.makeDirectory(DIRECTORY)
    const context = heldContext(HeldFiles.hold(this.files, DIRECTORY, 'unlocked'), STORE_ID)
    this.segments = new Segments(context, EMPTY_MANIFEST, 1, 0)
    this.writer = new Writer(
      this.segments,
      { maxSegmentBytes, syncsEach },
      (cause) => new StoreError('FIRKIN_POISONED', 'poisoned', { cause }),
    )
  }

  /** Writes groups with these numbers of records, and makes each durable. */
  write(counts: readonly number[], valueSize = 100): void {
    for (const count of counts) {
      for (let index = 0; index < count; index++) this.#stage(valueSize)
      this.writer.flush()
      this.segments.syncNow()
    }
  }

  /** Writes a record, and does not make it durable. */
  writeUnsynced(): void {
    this.#stage(100)
    this.writer.flush()
  }

  /** The groups after which space is preallocated for the next lone record. */
  static readonly BEFORE = [1, 1, 1, 1]

  get preallocated(): number {
    return this.fileOf(this.writer.segment.id).length - this.writer.segment.writtenSize
  }

  fileOf(id: number): Buffer {
    return this.files.peek(join(DIRECTORY, segmentName(id))) ?? Buffer.alloc(0)
  }

  #stage(valueSize: number): void {
    const { writer } = this
    const bytes = put('key', 'x'.repeat(valueSize), this.#sequence)
    if (writer.needsRotation(bytes.length)) writer.rotate()
    if (bytes.length > STAGE_SIZE) writer.enlarge(bytes.length)
    bytes.copy(writer.page.bytes, writer.stagedSize)
    writer.stage(PUT, bytes.length, this.#sequence++, 0)
  }
}

describe('preallocated space', () => {
  it('is written after a few lone records, and used by those that follow', () => {
    const bench = new Bench()
    bench.write(Bench.BEFORE)
    expect(bench.preallocated).toBe(0)

    bench.write([1])
    const { preallocated } = bench
    bench.write([1])

    expect(preallocated).toBeGreaterThan(MAX_PREALLOCATION_SIZE - KIB)
    expect(bench.preallocated).toBeLessThan(preallocated)
    const rest = bench.fileOf(1).subarray(bench.writer.segment.writtenSize)
    expect(rest.equals(Buffer.alloc(bench.preallocated))).toBe(true)
  })

  it('is written again once it is used up, and is never larger than a reader accepts', () => {
    const bench = new Bench()
    bench.write(Bench.BEFORE)
    const sizes = new Set<number>()
    for (let count = 0; count < 100; count++) {
      bench.write([1], 10 * KIB)
      sizes.add(bench.preallocated)
    }

    expect(bench.segments.tail).toHaveLength(1)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(MAX_PREALLOCATION_SIZE)
    expect(Math.min(...sizes)).toBeGreaterThan(0)
    expect(sizes.size).toBeGreaterThan(10)
  })

  it('is not written if groups are not made durable at once', () => {
    const bench = new Bench(1024 * KIB, false)

    bench.write([...Bench.BEFORE, 1, 1])

    expect(bench.preallocated).toBe(0)
  })

  it('is cut off by a group of several records, of which a power loss could leave a part', () => {
    const bench = new Bench()
    bench.write([...Bench.BEFORE, 1])

    bench.write([2])

    expect(bench.preallocated).toBe(0)
  })

  it('is not written before as many lone records have come again, after a group of several', () => {
    const bench = new Bench()

    bench.write([...Bench.BEFORE, 2, 1, 1, 1])
    const { preallocated } = bench
    bench.write([1])

    expect(preallocated).toBe(0)
    expect(bench.preallocated).toBeGreaterThan(0)
  })

  it('is cut off by a record that follows one that is not durable', () => {
    const bench = new Bench()
    bench.write([...Bench.BEFORE, 1])
    bench.writeUnsynced()
    expect(bench.preallocated).toBeGreaterThan(0)

    bench.writeUnsynced()

    expect(bench.preallocated).toBe(0)
  })

  it('is cut off by records larger than the stage, and by large ones', () => {
    const through = new Bench()
    through.write([...Bench.BEFORE, 1])
    through.write([1], 300 * KIB)
    expect(through.preallocated).toBe(0)

    const large = new Bench()
    large.write([...Bench.BEFORE, 1])
    large.write([1], MAX_PREALLOCATION_SIZE)
    expect(large.preallocated).toBe(0)
  })

  it('is cut off durably before several records are written in its place', () => {
    const writes: [string, (bench: Bench) => void][] = [
      ['a group', (bench) => bench.write([2])],
      ['a record larger than the stage', (bench) => bench.write([1], 300 * KIB)],
    ]
    for (const [name, write] of writes) {
      const bench = new Bench()
      bench.write([...Bench.BEFORE, 1])
      const { writtenSize } = bench.writer.segment
      const sizes: number[] = []
      bench.files.onCall = ({ kind }, crash) => {
        if (kind !== 'write') return
        const left = crash().afterPowerLoss({ files: ['dropped'], entries: 'kept' }, 1)
        sizes.push(left.peek(join(DIRECTORY, segmentName(1)))?.length ?? 0)
      }

      write(bench)

      expect(sizes, name).toEqual([writtenSize])
    }
  })

  it('is written later each time that it was cut off soon, until it was worth it', () => {
    const bench = new Bench()
    const waits: number[] = []
    const wait = (): void => {
      let count = 1
      for (bench.write([1]); bench.preallocated === 0; count++) bench.write([1])
      waits.push(count)
    }
    bench.write([1])
    for (let time = 0; time < 3; time++) {
      wait()
      bench.write([2])
    }
    wait()
    bench.write(Array(30).fill(1))
    bench.write([2])
    wait()

    expect(waits).toEqual([4, 7, 13, 25, 4])
  })

  it('does not reach beyond the segment', () => {
    const bench = new Bench(8 * KIB)

    bench.write([...Bench.BEFORE, 1])

    expect(bench.fileOf(1)).toHaveLength(8 * KIB)
  })

  it('is not left in a full segment, even by a power loss', () => {
    const bench = new Bench(8 * KIB)
    bench.write([...Bench.BEFORE, 1])
    const { writtenSize } = bench.writer.segment

    bench.writer.rotate()

    expect(bench.fileOf(1)).toHaveLength(writtenSize)
    const left = bench.files.afterPowerLoss({ files: ['dropped'], entries: 'kept' }, 1)
    expect(left.peek(join(DIRECTORY, segmentName(1)))).toHaveLength(writtenSize)
  })

  it('is done without if the disk has space for the record alone', () => {
    const bench = new Bench()
    bench.write(Bench.BEFORE)
    bench.files.capacity = bench.files.usedSize + KIB

    bench.write([1, 1])

    expect(bench.preallocated).toBe(0)
    expect(bench.writer.segment.usage.putCount).toBe(6)
  })

  it('poisons its store if it cannot be cut off durably', () => {
    const bench = new Bench()
    bench.write([...Bench.BEFORE, 1])
    bench.files.fail({ kinds: ['sync'], nth: 1, code: 'EIO' })

    expect(() => bench.writer.rotate()).toThrow(
      expect.objectContaining({ code: 'FIRKIN_POISONED' }),
    )
  })

  it('fails a write before which it cannot be cut off, and is cut off by the next one', () => {
    const bench = new Bench()
    bench.write([...Bench.BEFORE, 1])
    const { writtenSize } = bench.writer.segment
    bench.files.fail({ kinds: ['truncate'], nth: 1, code: 'EIO' })

    expect(() => bench.write([2])).toThrow('EIO')

    expect(bench.preallocated).toBe(0)
    expect(bench.writer.segment.writtenSize).toBe(writtenSize)
    bench.write([2])
    expect(bench.fileOf(1)).toHaveLength(bench.writer.segment.writtenSize)
  })
})
