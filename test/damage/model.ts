/**
 * A model of the outcome of damage, from the bytes alone.
 *
 * A record survives if its bytes are unchanged. The end of the tail is torn, and not damaged, from
 * its first changed record on, if no whole record follows and nothing there was known to be
 * durable.
 */

import { join } from 'node:path'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import type { DamagedRange } from '../../src/index.ts'
import { DISK } from '../support/store.ts'
import type { SegmentRecord } from './records.ts'
import type { Subject } from './subject.ts'

/** Changed files, by name; `undefined` for one that is missing. */
export type Changes = ReadonlyMap<string, Buffer | undefined>

/** The expected records, and the expected report. */
export interface Expectation {
  readonly records: readonly SegmentRecord[]
  readonly manifestRebuilt: boolean
  readonly damaged: readonly DamagedRange[]
  /** The number of torn bytes of the tail. */
  readonly tornBytes: number
}

/** Returns the expected outcome of salvage for a damaged store. */
export function expectSalvage(subject: Subject, changes: Changes): Expectation {
  const fates = subject.segments.map((name) => fateOf(subject, name, changes))
  return {
    records: fates.flatMap(({ left }) => left),
    manifestRebuilt: changes.has('MANIFEST'),
    damaged: fates.flatMap(({ ranges }) => ranges),
    tornBytes: fates.reduce((sum, { tornBytes }) => sum + tornBytes, 0),
  }
}

/** The expected outcome for a segment. */
export interface Fate {
  readonly left: readonly SegmentRecord[]
  readonly ranges: readonly DamagedRange[]
  readonly tornBytes: number
  /** The first record that has changed. */
  readonly fault: SegmentRecord | undefined
  readonly isHeaderSound: boolean
}

/** Returns the outcome for a segment. */
export function fateOf(subject: Subject, name: string, changes: Changes): Fate {
  const before = subject.bytes(name)
  const now = changes.has(name) ? (changes.get(name) ?? Buffer.alloc(0)) : before
  const isThere = !changes.has(name) || changes.get(name) !== undefined
  const survives = (from: number, to: number): boolean =>
    to <= now.length && before.subarray(from, to).equals(now.subarray(from, to))
  const records = subject.records(name)
  const isHeaderSound = survives(0, FILE_HEADER_SIZE)
  const left = records.filter(({ offset, size }) => survives(offset, offset + size))
  const lost = records.filter((record) => !left.includes(record))
  const fault = lost[0]
  const isNewest = name === subject.tail
  const known = changes.has('MANIFEST') ? FILE_HEADER_SIZE : subject.expectedSize(name)
  // The whole batch is lost with its last record.
  const cut = records.filter(({ offset }) => fault !== undefined && offset < fault.offset)
  while (fault !== undefined && cut.at(-1)?.inBatch === true) cut.pop()
  const end = endOf(cut)
  const highest = cut.at(-1)?.sequence ?? 0
  const isFollowed = left.some(
    ({ offset, sequence }) => offset > (fault?.offset ?? 0) && sequence > highest,
  )
  const extra = now.length > before.length
  if (
    isThere &&
    isNewest &&
    isHeaderSound &&
    (fault !== undefined || extra) &&
    end >= known &&
    !isFollowed
  ) {
    const rest = now.subarray(fault === undefined ? before.length : end)
    // Zeros count as preallocated space, even if they are the rest of a record.
    const tornBytes = rest.every((byte) => byte === 0) ? 0 : rest.length
    return {
      left: fault === undefined ? records : cut,
      ranges: [],
      tornBytes,
      fault,
      isHeaderSound,
    }
  }
  // A file is created and gets its header before anything in it is promised.
  const isBlank =
    now.length < FILE_HEADER_SIZE || now.subarray(0, FILE_HEADER_SIZE).every((byte) => byte === 0)
  if (
    isThere &&
    isNewest &&
    isBlank &&
    subject.manifest.tailSize === 0 &&
    !changes.has('MANIFEST')
  ) {
    return { left: [], ranges: [], tornBytes: now.length, fault, isHeaderSound }
  }
  const expected = changes.has('MANIFEST') ? 0 : subject.expectedSize(name)
  const size = Math.max(now.length, expected)
  const sound = isHeaderSound ? [{ offset: 0, size: FILE_HEADER_SIZE }, ...left] : left
  return { left, ranges: gapsOf(name, sound, size), tornBytes: 0, fault, isHeaderSound }
}

/** Returns the ranges between the sound pieces of a file. */
function gapsOf(
  name: string,
  sound: readonly { readonly offset: number; readonly size: number }[],
  size: number,
): DamagedRange[] {
  const file = join(DISK, name)
  const gaps: DamagedRange[] = []
  let at = 0
  for (const piece of [...sound, { offset: size, size: 0 }]) {
    if (piece.offset > at) gaps.push({ file, offset: at, bytes: piece.offset - at })
    at = piece.offset + piece.size
  }
  return gaps
}

function endOf(records: readonly SegmentRecord[]): number {
  const last = records.at(-1)
  return last === undefined ? FILE_HEADER_SIZE : last.offset + last.size
}
