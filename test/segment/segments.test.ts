/** The set of segments, its writer, and the files that it opens. */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { StoreError } from '../../src/errors.ts'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import type { SealedSegment } from '../../src/format/manifest.ts'
import { segmentName } from '../../src/format/names.ts'
import { PUT } from '../../src/format/record.ts'
import { HeldFiles } from '../../src/io/held-files.ts'
import { openSegmentFile } from '../../src/segment/file.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { openSealed } from '../../src/segment/open.ts'
import { heldContext, type Segment } from '../../src/segment/segment.ts'
import { Segments } from '../../src/segment/segments.ts'
import { STAGE_SIZE, Writer } from '../../src/segment/writer.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { EMPTY_MANIFEST, put, STORE_ID } from '../support/records.ts'

const DIRECTORY = '/disk/segments'
const KIB = 1024
const MIB = 1024 * KIB

/** Seals or writes a step of a group; returns whether all is written. */
async function step(writer: Writer): Promise<boolean> {
  if (writer.seal()) return false
  try {
    await new Promise<void>((resolve, reject) =>
      writer.writeLater(false, (error) => (error === undefined ? resolve() : reject(error))),
    )
  } catch (error) {
    writer.giveUp()
    throw error
  }
  if (!writer.isWritten) return false
  writer.complete()
  return true
}

/** An empty set of segments, and a writer for it; each record gets the next sequence. */
class Bench {
  readonly files = new FaultyFiles(1)
  readonly segments: Segments
  readonly writer: Writer
  #sequence = 1

  constructor(maxSegmentBytes = 64 * KIB) {
    this.files.makeDirectory(DIRECTORY)
    const context = heldContext(HeldFiles.hold(this.files, DIRECTORY, 'unlocked'), STORE_ID)
    this.segments = new Segments(context, EMPTY_MANIFEST, 1, 0)
    this.writer = new Writer(
      this.segments,
      { maxSegmentBytes, syncsEach: false },
      (cause) => new StoreError('FIRKIN_POISONED', 'poisoned', { cause }),
    )
  }

  /** Stages a record; begins a new segment if needed. */
  stage(key: string, value = ''): Buffer {
    const { writer } = this
    const bytes = put(key, value, this.#sequence)
    if (writer.needsRotation(bytes.length)) writer.rotate()
    bytes.copy(writer.page.bytes, writer.stagedSize)
    writer.stage(PUT, bytes.length, this.#sequence++, 0)
    return bytes
  }

  /** Stages a record that has no checksum yet; returns it with one. */
  stageUnsealed(key: string, valueSize: number): Buffer {
    const { writer } = this
    const bytes = put(key, 'x'.repeat(valueSize), this.#sequence)
    if (writer.needsRotation(bytes.length)) writer.rotate()
    writer.enlarge(bytes.length)
    bytes.copy(writer.page.bytes, writer.stagedSize)
    writer.page.view.setUint32(writer.stagedSize, 0)
    writer.stageUnsealed(PUT, bytes.length, this.#sequence++, 0)
    return bytes
  }

  /** Writes a record into a segment of its own, which is then sealed. */
  async sealed(key: string): Promise<Segment> {
    this.stage(key)
    this.writer.flush()
    const { segment } = this.writer
    this.writer.rotate()
    await this.segments.syncLater()
    await this.segments.seal()
    return segment
  }

  bytesOf(id: number): Buffer {
    return this.files.peek(join(DIRECTORY, segmentName(id))) ?? Buffer.alloc(0)
  }
}

describe('a writer', () => {
  it('puts what is staged into the file by one write, at the offsets that it gave', () => {
    const bench = new Bench()
    const first = bench.stage('a', '1')
    const secondAt = bench.writer.offset
    const second = bench.stage('b', '2')
    const before = bench.files.calls.length

    bench.writer.flush()

    expect(bench.files.calls.slice(before).map(({ kind }) => kind)).toEqual(['write'])
    expect(bench.bytesOf(1).subarray(FILE_HEADER_SIZE)).toEqual(Buffer.concat([first, second]))
    expect(bench.bytesOf(1).subarray(secondAt)).toEqual(second)
    expect(bench.writer).toMatchObject({ stagedSize: 0, stagedCount: 0 })
  })

  it('writes nothing if nothing is staged', () => {
    const bench = new Bench()

    bench.writer.flush()

    expect(bench.files.list(DIRECTORY)).toEqual([])
  })

  it('begins a segment if a record does not fit, a large record in one of its own', () => {
    const bench = new Bench()
    bench.stage('a', 'x'.repeat(40 * KIB))
    bench.writer.flush()

    expect(bench.writer.needsRotation(40 * KIB)).toBe(true)
    expect(bench.writer.needsRotation(20 * KIB)).toBe(false)
    bench.stage('b', 'x'.repeat(100 * KIB))
    bench.writer.flush()
    expect(bench.writer.needsRotation(20)).toBe(true)

    expect(bench.segments.tail.map(({ id, writtenSize }) => [id, writtenSize > 64 * KIB])).toEqual([
      [1, false],
      [2, true],
    ])
  })

  it('finds out what fits the stage', () => {
    const bench = new Bench()
    expect(bench.writer.fits(20)).toBe(false)
    bench.stage('a')

    expect(bench.writer.fits(60 * KIB)).toBe(true)
    expect(bench.writer.fits(64 * KIB)).toBe(false)
    expect(bench.writer.fits(STAGE_SIZE + 1)).toBe(false)
  })

  it('cuts off what a failed write has left, and does not count it any more', () => {
    const bench = new Bench()
    bench.stage('a', 'kept')
    bench.writer.flush()
    const before = bench.bytesOf(1)
    bench.files.fail({ kinds: ['write'], nth: 1, code: 'SHORT' })
    bench.files.fail({ kinds: ['write'], nth: 2, code: 'ENOSPC' })
    bench.stage('b', 'x'.repeat(KIB))

    expect(() => bench.writer.flush()).toThrow('ENOSPC')

    expect(bench.bytesOf(1)).toEqual(before)
    expect(bench.writer.segment.usage).toMatchObject({ size: before.length, putCount: 1 })
    const next = bench.stage('c')
    bench.writer.flush()
    expect(bench.bytesOf(1).subarray(before.length)).toEqual(next)
  })

  it('poisons its store if what a failed write has left cannot be cut off', () => {
    for (const kind of ['truncate', 'sync'] as const) {
      const bench = new Bench()
      bench.stage('a')
      bench.writer.flush()
      bench.files.fail({ kinds: ['write'], nth: 1, code: 'SHORT' })
      bench.files.fail({ kinds: ['write'], nth: 2, code: 'EIO' })
      bench.files.fail({ kinds: [kind], nth: 1, code: 'EIO' })
      bench.stage('b', 'x'.repeat(KIB))

      expect(() => bench.writer.flush()).toThrow(
        expect.objectContaining({ code: 'FIRKIN_POISONED' }),
      )

      expect(bench.writer).toMatchObject({ stagedSize: 0, segment: { usage: { putCount: 1 } } })
    }
  })

  it('cuts nothing off if a failed write has left nothing, so that nothing else can fail', () => {
    const bench = new Bench()
    bench.stage('a')
    bench.writer.flush()
    bench.files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC' })
    bench.files.fail({ kinds: ['truncate', 'sync'], nth: 1, code: 'EIO' })
    bench.stage('b')

    expect(() => bench.writer.flush()).toThrow('ENOSPC')

    bench.files.heal()
    bench.stage('c')
    bench.writer.flush()
    expect(bench.writer.segment.usage.putCount).toBe(2)
  })

  it('leaves no file behind if a segment cannot be begun', () => {
    const bench = new Bench()
    bench.files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC' })

    expect(() => bench.writer.rotate()).toThrow('ENOSPC')

    expect(bench.files.list(DIRECTORY)).toEqual([])
    expect(bench.files.openPaths).toEqual([])
  })

  it('writes a large record and what follows it in steps, while it can be read', async () => {
    const bench = new Bench(8 * MIB)
    const { writer, files } = bench
    const large = bench.stageUnsealed('large', 3 * MIB)
    const written = (): number => bench.bytesOf(1).length - FILE_HEADER_SIZE

    expect(writer.isUnsealed(writer.page, 0)).toBe(true)
    expect(writer.fits(STAGE_SIZE)).toBe(true)
    let steps = 0
    while (written() < 2 * MIB) {
      expect(await step(writer)).toBe(false)
      steps++
    }
    expect(steps).toBeGreaterThan(4)
    expect(writer.isUnsealed(writer.page, 0)).toBe(false)
    expect(writer.segment.writtenSize).toBe(FILE_HEADER_SIZE)
    expect(writer.segment.locate(FILE_HEADER_SIZE, large.length)).toBe(writer.page)
    const small = bench.stage('small')
    const before = files.calls.length
    while (!(await step(writer)));

    const bytes = bench.bytesOf(1).subarray(FILE_HEADER_SIZE)
    expect(bytes.equals(Buffer.concat([large, small]))).toBe(true)
    expect(files.calls.length - before).toBeLessThan(4)
    expect(writer.page.bytes).toHaveLength(STAGE_SIZE)
    expect(writer).toMatchObject({ stagedSize: 0, segment: { usage: { putCount: 2 } } })
  })

  it('ends in one go what it has begun in steps, and cuts off what fails', async () => {
    for (const steps of [0, 2, 5]) {
      const bench = new Bench(8 * MIB)
      const first = bench.stage('first')
      bench.writer.flush()
      const large = bench.stageUnsealed('large', 2 * MIB)
      for (let count = 0; count < steps; count++) await step(bench.writer)
      bench.writer.flush()
      const whole = Buffer.concat([first, large])
      expect(bench.bytesOf(1).subarray(FILE_HEADER_SIZE).equals(whole)).toBe(true)

      bench.stageUnsealed('more', 2 * MIB)
      for (let count = 0; count < steps; count++) await step(bench.writer)
      bench.files.fail({ kinds: ['write'], nth: 1, code: 'ENOSPC' })
      const toEnd = async () => {
        while (!(await step(bench.writer)));
      }
      await expect(toEnd()).rejects.toThrow('ENOSPC')
      expect(bench.bytesOf(1).subarray(FILE_HEADER_SIZE).equals(whole)).toBe(true)
      expect(bench.writer).toMatchObject({ stagedSize: 0, segment: { usage: { putCount: 2 } } })
      expect(bench.writer.page.bytes).toHaveLength(STAGE_SIZE)
    }
  })

  it('takes nothing more into a larger stage before the record it was made for', () => {
    const bench = new Bench(8 * MIB)
    bench.stage('a')
    bench.writer.flush()
    bench.writer.enlarge(2 * MIB)

    expect(bench.writer.fits(STAGE_SIZE + 1)).toBe(false)
  })
})

describe('the set of segments', () => {
  it('lists as sealed all but the active one, once it is durable', async () => {
    const bench = new Bench()
    const first = await bench.sealed('a')
    const second = await bench.sealed('b')

    const installed = readManifest(bench.files, DIRECTORY)

    expect(installed?.segments.map(({ id }) => id)).toEqual([first.id, second.id])
    expect(installed).toMatchObject({ tailId: 3, tailSize: FILE_HEADER_SIZE, nextSegmentId: 4 })
    expect(bench.segments.listed).toEqual([first, second])
    expect(bench.segments.tail.map(({ id }) => id)).toEqual([3])
    expect(await bench.segments.seal()).toEqual([])
  })

  it('seals nothing that has not been synced', async () => {
    const bench = new Bench()
    bench.stage('a')
    bench.writer.flush()
    bench.writer.rotate()

    expect(bench.segments.sealPending).toBe(true)
    expect(await bench.segments.seal()).toEqual([])
    expect(bench.segments.dirty).toBe(true)

    bench.segments.syncNow()
    expect(bench.segments.dirty).toBe(false)
    expect(await bench.segments.seal()).toHaveLength(1)
  })

  it('lists full segments that are durable while newer ones are not', async () => {
    const bench = new Bench()
    bench.stage('a')
    bench.writer.flush()
    bench.writer.rotate()
    bench.stage('b')
    bench.writer.flush()
    const syncedSize = bench.segments.active?.writtenSize
    bench.files.onCall = ({ kind, path }) => {
      if (kind !== 'sync' || !path.endsWith(segmentName(2))) return
      bench.files.onCall = undefined
      bench.stage('c')
      bench.writer.flush()
      bench.writer.rotate()
    }
    await bench.segments.syncLater()

    const sealed = await bench.segments.seal()

    expect(sealed.map(({ id }) => id)).toEqual([1])
    expect(readManifest(bench.files, DIRECTORY)).toMatchObject({
      tailId: 2,
      tailSize: syncedSize,
      segments: [{ id: 1 }],
    })
    expect(bench.segments.tail.map(({ id }) => id)).toEqual([2, 3])
    expect(await bench.segments.seal()).toEqual([])
    await bench.segments.syncLater()
    expect((await bench.segments.seal()).map(({ id }) => id)).toEqual([2])
  })

  it('lists no segment while the name of the next one is not durable', async () => {
    const bench = new Bench()
    bench.stage('a')
    bench.writer.flush()
    bench.writer.rotate()
    let early: Promise<unknown[]> | undefined
    bench.files.onCall = ({ kind }) => {
      if (kind === 'syncDirectory') early ??= bench.segments.seal()
    }

    await bench.segments.syncLater()
    bench.files.onCall = undefined

    expect(await early).toEqual([])
    expect((await bench.segments.seal()).map(({ id }) => id)).toEqual([1])
  })

  it('syncs segments oldest first, and the directory after them', async () => {
    for (const how of ['syncNow', 'syncLater'] as const) {
      const bench = new Bench()
      for (const key of ['a', 'b', 'c']) {
        bench.stage(key)
        bench.writer.flush()
        bench.writer.rotate()
      }
      const before = bench.files.calls.length

      await bench.segments[how]()
      await bench.segments[how]()

      const paths = [1, 2, 3, 4].map((id) => join(DIRECTORY, segmentName(id)))
      const syncs = bench.files.calls.slice(before).filter(({ kind }) => kind.startsWith('sync'))
      expect(syncs.map(({ path }) => path)).toEqual([...paths, DIRECTORY])
    }
  })

  it('never returns an id twice, and none beyond the last one', () => {
    const { segments } = new Bench()
    expect([segments.takeId(), segments.takeId(), segments.nextId]).toEqual([1, 2, 3])

    const context = segments.context
    const full = new Segments(context, EMPTY_MANIFEST, 2 ** 31 - 1, 0)
    full.takeId()
    expect(() => full.takeId()).toThrow(expect.objectContaining({ code: 'FIRKIN_WRITE_FAILED' }))
  })

  it('makes commits one after the other, each from what the last installed', async () => {
    const { files, segments } = new Bench()

    await Promise.all(
      [1, 2, 3].map((count) =>
        segments.commit(({ nextSequence }) => ({ nextSequence: nextSequence + count })),
      ),
    )

    expect(readManifest(files, DIRECTORY)).toMatchObject({ generation: 3, nextSequence: 7 })
    expect(files.list(DIRECTORY)).toEqual(['MANIFEST'])
  })

  it('leaves the manifest as it is if a commit fails, and goes on with the next', async () => {
    for (const kind of ['open', 'write', 'sync', 'rename'] as const) {
      const { files, segments } = new Bench()
      await segments.commit(() => ({ nextSequence: 5 }))
      files.fail({ kinds: [kind], nth: 1, code: 'ENOSPC' })

      await expect(segments.commit(() => ({ nextSequence: 9 }))).rejects.toThrow('ENOSPC')

      expect(readManifest(files, DIRECTORY)).toEqual(segments.manifest)
      expect(segments.manifest.nextSequence).toBe(5)
      expect(files.list(DIRECTORY)).toEqual(['MANIFEST'])
      await segments.commit(() => ({ nextSequence: 7 }))
      expect(readManifest(files, DIRECTORY)?.nextSequence).toBe(7)
      expect(files.openPaths).toEqual([])
    }
  })

  it('survives a power loss whole, and with the commits that have resolved', async () => {
    for (let nth = 1; ; nth++) {
      const { files, segments } = new Bench()
      await segments.commit(() => ({ nextSequence: 5 }))
      let machine: FaultyFiles | undefined
      let left = nth
      files.onCall = (_, crash) => {
        if (--left === 0) machine = crash()
      }
      await segments.commit(() => ({ nextSequence: 9 }))

      const loss = { files: ['dropped'], entries: 'dropped' } as const
      const after = (machine ?? files).afterPowerLoss(loss, 1)
      const { nextSequence } = readManifest(after, DIRECTORY) ?? {}
      expect(machine === undefined ? [9] : [5, 9]).toContain(nextSequence)
      if (machine === undefined) break
    }
  })

  it('takes the place of an older set, and keeps open what is still read of it', async () => {
    const bench = new Bench()
    const first = await bench.sealed('a')
    const second = await bench.sealed('b')
    const installed = readManifest(bench.files, DIRECTORY) ?? EMPTY_MANIFEST
    const next = new Segments(bench.segments.context, installed, 9, 0)
    const [, sealedSecond] = installed.segments
    next.addSealed(openSealed(bench.segments.context, sealedSecond as SealedSegment, false))

    const gone = next.inherit(bench.segments)

    expect(gone.map(({ id }) => id)).toEqual([first.id, 3])
    expect(next.all.map(({ id }) => id)).toEqual([second.id])
    expect(next.get(first.id)).toBe(first)
    expect(bench.files.openPaths).toHaveLength(3)
    next.close()
    expect(bench.files.openPaths).toEqual([])
  })
})

describe('opening a sealed segment', () => {
  /** Makes a directory with one sealed segment, and returns how the manifest lists it. */
  async function one(): Promise<{ bench: Bench; listed: SealedSegment; path: string }> {
    const bench = new Bench()
    const { id } = await bench.sealed('a')
    const [listed] = readManifest(bench.files, DIRECTORY)?.segments ?? []
    bench.segments.close()
    return { bench, listed: listed as SealedSegment, path: join(DIRECTORY, segmentName(id)) }
  }

  it('takes its figures from the manifest', async () => {
    const { bench, listed } = await one()

    const segment = openSealed(bench.segments.context, listed, false)

    expect(segment).toMatchObject({ id: 1, origin: 'appended', writtenSize: listed.size })
    expect(segment.usage).toMatchObject({ putCount: 1, deadPutCount: 0 })
    segment.close()
    segment.close()
    expect(bench.files.openPaths).toEqual([])
  })

  it.each<[string, (bytes: Buffer) => Buffer | undefined, string]>([
    ['is missing', () => undefined, 'The segment is missing'],
    ['is cut', (bytes) => bytes.subarray(0, -1), 'the manifest says'],
    ['is cut inside its header', (bytes) => bytes.subarray(0, 20), 'the manifest says'],
    ['is longer', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]), 'the manifest says'],
    [
      'has a damaged header',
      (bytes) => Buffer.from(bytes).fill(0xff, 10, 12),
      'The file header is damaged',
    ],
  ])('refuses a file that %s, by its name, and leaves nothing open', async (_, change, message) => {
    const { bench, listed, path } = await one()
    bench.files.poke(path, change(bench.bytesOf(1)))

    expect(() => openSealed(bench.segments.context, listed, false)).toThrow(
      expect.objectContaining({
        code: 'FIRKIN_CORRUPT',
        file: path,
        message: expect.stringContaining(message),
      }),
    )
    expect(bench.files.openPaths).toEqual([])
  })

  it('refuses the file of another store, or of another segment', async () => {
    const { bench, listed, path } = await one()
    const other = { ...bench.segments.context, storeId: Buffer.alloc(16, 7) }

    expect(() => openSealed(other, listed, false)).toThrow('belongs to another store')
    bench.files.poke(join(DIRECTORY, segmentName(8)), bench.files.peek(path))
    expect(() => openSealed(bench.segments.context, { ...listed, id: 8 }, false)).toThrow(
      'says it is number 1, not 8',
    )
    expect(bench.files.openPaths).toEqual([])
  })

  it('does not take an error of the operating system for damage', async () => {
    for (const kind of ['open', 'size'] as const) {
      const { bench } = await one()
      bench.files.fail({ kinds: [kind], nth: 1, code: 'EMFILE' })

      expect(() => openSegmentFile(bench.segments.context, 1)).toThrow(
        expect.objectContaining({
          code: 'FIRKIN_READ_FAILED',
          cause: expect.objectContaining({ code: 'EMFILE' }),
        }),
      )
      expect(bench.files.openPaths).toEqual([])
    }
  })
})
