/** Copies of a merge: what they take, drop and write. They run in this process, without a store. */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { HintDecoder } from '../../src/format/hint.ts'
import { hintName, segmentName } from '../../src/format/names.ts'
import { IN_BATCH, PUT, recordSize, TOMBSTONE } from '../../src/format/record.ts'
import { errorCode } from '../../src/io/files.ts'
import { type CopyJob, type CopyProgress, copySegments, SourceError } from '../../src/merge/copy.ts'
import type { CopyTarget } from '../../src/merge/targets.ts'
import { scanSegment } from '../../src/segment/scan.ts'
import { type FaultCode, FaultyFiles } from '../support/faulty-files.ts'
import { directoryIdOf } from '../support/held.ts'
import {
  batchEnd,
  put,
  record,
  SEED,
  STORE_ID,
  segmentHeader,
  tombstone,
} from '../support/records.ts'

const DIRECTORY = '/disk/copy'
const KIB = 1024

/** Makes a directory with segments of these records, from id 1 on. */
function filesWith(segments: readonly Buffer[][]): FaultyFiles {
  const files = new FaultyFiles(1)
  files.makeDirectory(DIRECTORY)
  for (const [index, records] of segments.entries()) {
    const header = segmentHeader(index + 1)
    files.poke(join(DIRECTORY, segmentName(index + 1)), Buffer.concat([header, ...records]))
  }
  return files
}

/** A job for any directory. */
type JobWithoutDirectory = Omit<CopyJob, 'directoryId'>

/**
 * Makes a job that copies these segments, in each of which the records with these numbers are live.
 */
function jobOf(
  segments: readonly Buffer[][],
  live: readonly (readonly number[])[],
  differing: Partial<JobWithoutDirectory> = {},
): JobWithoutDirectory {
  return {
    storeId: STORE_ID,
    sources: segments.map((records, index) => {
      const starts = records.map((_, number) =>
        records.slice(0, number).reduce((sum, { length }) => sum + length, FILE_HEADER_SIZE),
      )
      return {
        id: index + 1,
        size: records.reduce((sum, { length }) => sum + length, FILE_HEADER_SIZE),
        live: Uint32Array.from((live[index] ?? []).map((number) => starts[number] ?? 0)),
      }
    }),
    targetIds: [11, 12, 13, 14],
    maxSegmentBytes: 64 * KIB,
    dropBelow: 0,
    maxBytesPerSecond: 0,
    ...differing,
  }
}

/** Copies to the end; returns the reported progress and the targets. */
function copyAll(
  files: FaultyFiles,
  job: JobWithoutDirectory,
): { steps: CopyProgress[]; targets: readonly CopyTarget[] } {
  const steps: CopyProgress[] = []
  const copy = copySegments(files, { ...job, directoryId: directoryIdOf(files, DIRECTORY) })
  for (;;) {
    const step = copy.next()
    if (step.done === true) return { steps, targets: step.value }
    steps.push(step.value)
  }
}

/** Reads the records of a target, as text. */
function recordsOf(files: FaultyFiles, id: number): string[] {
  const file = files.open(join(DIRECTORY, segmentName(id)), 'read')
  const found: string[] = []
  const to = files.size(file)
  const options = { files, file, from: FILE_HEADER_SIZE, to, seed: SEED } as const
  const end = scanSegment({ ...options, ascending: false, batches: 'whole' }, (fields, page) => {
    const key = page.bytes.toString('utf8', fields.keyAt, fields.keyAt + fields.keySize)
    const value = page.bytes.toString('utf8', fields.valueAt, fields.valueAt + fields.valueSize)
    const kind = fields.kind === PUT ? `${key}=${value}` : `-${key}`
    const expiry = fields.expiresAtMs === 0 ? '' : ` until ${fields.expiresAtMs}`
    found.push(`${fields.sequence} ${kind}${expiry}`)
  })
  files.close(file)
  expect(end.faultAt).toBeUndefined()
  return found
}

/** Copies segments into one target, and returns its records. */
function copied(
  segments: readonly Buffer[][],
  live: readonly (readonly number[])[],
  differing: Partial<CopyJob> = {},
): string[] {
  const files = filesWith(segments)
  const { targets } = copyAll(files, jobOf(segments, live, differing))
  return targets.flatMap(({ sealed }) => recordsOf(files, sealed.id))
}

describe('a copy', () => {
  it('takes the live puts of every source, byte by byte, and leaves the dead ones', () => {
    const segments = [
      [put('a', 'old', 1), put('b', '2', 2), put('c', '', 3, 9000)],
      [put('a', 'new', 4), put('d', 'dead', 5)],
    ]

    const files = filesWith(segments)
    const { targets } = copyAll(files, jobOf(segments, [[1, 2], [0]]))

    expect(recordsOf(files, 11)).toEqual(['2 b=2', '3 c= until 9000', '4 a=new'])
    const bytes = files.peek(join(DIRECTORY, segmentName(11)))?.subarray(FILE_HEADER_SIZE)
    expect(bytes).toEqual(
      Buffer.concat([put('b', '2', 2), put('c', '', 3, 9000), put('a', 'new', 4)]),
    )
    expect(targets.map(({ sealed }) => sealed)).toEqual([
      {
        id: 11,
        origin: 'merged',
        size: FILE_HEADER_SIZE + (bytes?.length ?? 0),
        putCount: 3,
        tombstoneCount: 0,
        tombstoneBytes: 0,
        minSequence: 2,
        maxSequence: 4,
        lastExpiryMs: 0,
      },
    ])
    expect(files.openPaths).toEqual([])
  })

  it('makes no target if nothing is left', () => {
    const segments = [[put('a', '1', 1)]]

    const files = filesWith(segments)

    expect(copyAll(files, jobOf(segments, [[]])).targets).toEqual([])
    expect(files.list(DIRECTORY)).toEqual([segmentName(1)])
  })

  it('takes records out of their batch', () => {
    const member = (key: string, sequence: number): Buffer =>
      record({ key, value: 'of a batch', sequence, flags: IN_BATCH })
    const segments = [[member('a', 1), member('b', 2), batchEnd(2, 3)]]

    // A member without its batch end would be torn: `recordsOf` checks batches against their ends.
    expect(copied(segments, [[1]])).toEqual(['2 b=of a batch'])
  })

  it('keeps the tombstones from `dropBelow` on, and drops those below', () => {
    const segments = [[tombstone('a', 1), tombstone('b', 2), tombstone('c', 3)]]

    expect(copied(segments, [[]], { dropBelow: 2 })).toEqual(['2 -b', '3 -c'])
    expect(copied(segments, [[]], { dropBelow: 4 })).toEqual([])
    expect(copied(segments, [[]], { dropBelow: Number.POSITIVE_INFINITY })).toEqual([])
  })

  it('keeps only the newest tombstone of each key, and none that a newer put replaces', () => {
    const segments = [
      [tombstone('a', 1), tombstone('b', 2), tombstone('a', 3)],
      [put('b', 'again', 4), tombstone('c', 5)],
    ]

    expect(copied(segments, [[], [0]])).toEqual(['4 b=again', '3 -a', '5 -c'])
  })

  it('keeps a tombstone that is newer than the live put of its key, whichever comes first', () => {
    const segments = [[put('a', 'moved', 1)], [tombstone('a', 7)]]

    expect(copied(segments, [[0], []])).toEqual(['1 a=moved', '7 -a'])
    expect(copied([...segments].reverse(), [[], [0]])).toEqual(['1 a=moved', '7 -a'])
  })

  it('turns an expired put that may hide an older one into a tombstone', () => {
    const segments = [[put('a', 'expired', 5, 9000), put('b', 'overwritten', 6)]]

    expect(copied(segments, [[]], { dropBelow: 5 })).toEqual(['5 -a'])
    expect(copied(segments, [[]], { dropBelow: 6 })).toEqual([])
  })

  it('fills targets up to the segment size, and gives a larger record one to itself', () => {
    const value = (size: number): string => 'x'.repeat(size)
    const segments = [
      [
        put('a', value(30 * KIB), 1),
        put('b', value(30 * KIB), 2),
        put('c', value(30 * KIB), 3),
        put('d', value(100 * KIB), 4),
        put('e', value(1), 5),
      ],
    ]
    const files = filesWith(segments)

    const { targets } = copyAll(files, jobOf(segments, [[0, 1, 2, 3, 4]]))

    const keys = targets.map(({ sealed: { id } }) =>
      recordsOf(files, id).map((text) => text.slice(2, 3)),
    )
    expect(keys).toEqual([['a', 'b'], ['c'], ['d'], ['e']])
    for (const { sealed } of targets) {
      const { length = 0 } = files.peek(join(DIRECTORY, segmentName(sealed.id))) ?? []
      expect(sealed.size).toBe(length)
      expect(length <= 64 * KIB || sealed.putCount === 1).toBe(true)
    }
  })

  it('gives each target a hint that lists every record, and syncs both', () => {
    const segments = [[put('a', '1', 1), put('b', '2', 2, 77), tombstone('c', 3)]]
    const files = filesWith(segments)

    const { targets } = copyAll(files, jobOf(segments, [[0, 1]]))

    const machine = files.afterPowerLoss({ files: ['dropped'], entries: 'kept' }, 1)
    const hint = machine.peek(join(DIRECTORY, hintName(11)))
    expect(hint).toEqual(Buffer.from(targets[0]?.hint ?? []))
    expect(recordsOf(machine, 11)).toEqual(['1 a=1', '2 b=2 until 77', '3 -c'])
    const size = targets[0]?.sealed.size ?? 0
    const decoder = HintDecoder.open(hint ?? Buffer.alloc(0), STORE_ID, size)
    const hinted: unknown[] = []
    while (decoder?.next()) {
      const { kind, sequence, expiresAtMs, size } = decoder.fields
      hinted.push([decoder.offset, kind, sequence, expiresAtMs, size])
    }
    const start = FILE_HEADER_SIZE
    expect(hinted).toEqual([
      [start, PUT, 1, 0, recordSize(1, 1, false)],
      [start + recordSize(1, 1, false), PUT, 2, 77, recordSize(1, 1, true)],
      [
        start + recordSize(1, 1, false) + recordSize(1, 1, true),
        TOMBSTONE,
        3,
        0,
        recordSize(1, 0, false),
      ],
    ])
  })

  it('yields about every mebibyte, and reports its progress', () => {
    const records = Array.from({ length: 50 }, (_, index) =>
      put(`key ${index}`, 'x'.repeat(100 * KIB), index + 1),
    )
    const segments = [records.slice(0, 25), records.slice(25)]
    const files = filesWith(segments)
    const job = jobOf(segments, [[0, 1], []], { maxSegmentBytes: 1024 * KIB })

    const { steps } = copyAll(files, job)

    const total = job.sources.reduce((sum, { size }) => sum + size, 0)
    const read = steps.map(({ bytesRead }) => bytesRead)
    expect(read).toEqual([...read].sort((a, b) => a - b))
    expect(read.at(-1)).toBe(total)
    expect(steps.length).toBeGreaterThanOrEqual(Math.floor(total / (1024 * KIB)))
    for (const [index, at] of read.entries()) {
      expect(at - (read[index - 1] ?? 0)).toBeLessThan(1200 * KIB)
    }
    expect(steps.at(-1)?.bytesWritten).toBe(2 * (records[0]?.length ?? 0))
  })

  it('reports file and offset of a damaged record, and leaves no target', () => {
    const segments = [
      [put('a', '1', 1), put('b', '2', 2)],
      [put('c', '3', 3), put('d', '4', 4)],
    ]
    const files = filesWith(segments)
    const path = join(DIRECTORY, segmentName(2))
    const bytes = files.peek(path) ?? Buffer.alloc(0)
    bytes[bytes.length - 1] = 0
    files.poke(path, bytes)

    expect(() => copyAll(files, jobOf(segments, [[0, 1], [0]]))).toThrow(
      expect.objectContaining({
        code: 'FIRKIN_CORRUPT',
        file: path,
        offset: FILE_HEADER_SIZE + put('c', '3', 3).length,
      }),
    )
    expect(files.list(DIRECTORY)).toEqual([segmentName(1), segmentName(2)])
    expect(files.openPaths).toEqual([])
  })

  it('leaves no target if it is ended between two steps', () => {
    const segments = [[put('a', 'x'.repeat(2048 * KIB), 1), put('b', '2', 2)]]
    const files = filesWith(segments)
    const copy = copySegments(files, {
      ...jobOf(segments, [[0, 1]]),
      directoryId: directoryIdOf(files, DIRECTORY),
    })
    expect(copy.next().done).toBe(false)
    expect(files.list(DIRECTORY)).toContain(segmentName(11))

    copy.return([])

    expect(files.list(DIRECTORY)).toEqual([segmentName(1)])
    expect(files.openPaths).toEqual([])
  })

  it.each(['EIO', 'ENOSPC', 'SHORT'] as FaultCode[])(
    'fails as a whole, or succeeds, whichever file operation fails: %s',
    (code) => {
      const value = 'x'.repeat(40 * KIB)
      const segments = [
        [put('a', value, 1), put('b', value, 2)],
        [put('c', value, 3), tombstone('d', 4)],
      ]
      const expected = [`1 a=${value}`, `2 b=${value}`, `3 c=${value}`, '4 -d']
      const job = jobOf(segments, [[0, 1], [0]])
      let failures = 0
      for (let nth = 1; ; nth++) {
        const files = filesWith(segments)
        files.fail(code === 'SHORT' ? { kinds: ['read', 'write'], nth, code } : { nth, code })
        let targets: readonly CopyTarget[] | undefined
        try {
          targets = copyAll(files, job).targets
        } catch (error) {
          // If a source refuses an operation, the merge learns that it was the source.
          expect(error).toSatisfy(
            (failure) =>
              errorCode(failure) === code ||
              (failure instanceof SourceError && errorCode(failure.cause) === code),
          )
          failures++
        }
        expect(files.openPaths).toEqual([])
        const { faultCount } = files
        files.heal()
        if (targets === undefined) {
          expect(files.list(DIRECTORY)).toEqual([segmentName(1), segmentName(2)])
        } else {
          expect(targets.flatMap(({ sealed }) => recordsOf(files, sealed.id))).toEqual(expected)
        }
        if (faultCount === 0) break
      }
      if (code === 'SHORT') expect(failures).toBe(0)
      else expect(failures).toBeGreaterThan(15)
    },
  )
})
