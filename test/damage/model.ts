/**
 * What must come of damage, told from the bytes alone.
 *
 * A record survives where its bytes and the store's are the same. What is torn, and so no damage, is the end of the
 * tail: from its first record that is no more, if no whole one follows and nothing there was known to be durable.
 */

import { join } from 'node:path'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import type { DamagedRange } from '../../src/index.ts'
import { DISK } from '../support/store.ts'
import type { SegmentRecord } from './records.ts'
import type { Subject } from './subject.ts'

/** Files that are not what they were, by name; `undefined` for one that is missing. */
export type Changes = ReadonlyMap<string, Buffer | undefined>

/** What must be left, and what must be reported as damaged. */
export interface Expectation {
  readonly records: readonly SegmentRecord[]
  readonly manifestRebuilt: boolean
  readonly damaged: readonly DamagedRange[]
  /** How many bytes of the tail are torn. */
  readonly tornBytes: number
}

/** What salvage must make of a damaged store. */
export function expectSalvage(subject: Subject, changes: Changes): Expectation {
  const fates = subject.segments.map((name) => fateOf(subject, name, changes))
  return {
    records: fates.flatMap(({ left }) => left),
    manifestRebuilt: changes.has('MANIFEST'),
    damaged: fates.flatMap(({ ranges }) => ranges),
    tornBytes: fates.reduce((sum, { tornBytes }) => sum + tornBytes, 0),
  }
}

/** What becomes of a segment. */
export interface Fate {
  readonly left: readonly SegmentRecord[]
  readonly ranges: readonly DamagedRange[]
  readonly tornBytes: number
  /** The first record that is not what it was. */
  readonly fault: SegmentRecord | undefined
  readonly isHeaderSound: boolean
}

/** Tells what becomes of a segment by its bytes. */
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
  // All of a batch goes with its last record.
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
    // Zeros are room for records, also where they are what is left of one.
    const tornBytes = rest.every((byte) => byte === 0) ? 0 : rest.length
    return {
      left: fault === undefined ? records : cut,
      ranges: [],
      tornBytes,
      fault,
      isHeaderSound,
    }
  }
  // Before anything was promised a file is made and given its header.
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

/** What lies between the pieces of a file that are sound. */
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
