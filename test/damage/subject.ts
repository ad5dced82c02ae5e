import { join } from 'node:path'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import type { Manifest } from '../../src/format/manifest.ts'
import { hintName, parseName, segmentName } from '../../src/format/names.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { DISK, idle, openOn, type TextOptions, type TextStore } from '../support/store.ts'
import { recordsOf, type SegmentRecord } from './records.ts'

/** The time at which the stores are written and read. */
export const NOW_MS = Date.UTC(2026, 0, 1)
const LATER_MS = NOW_MS + 1

/** Opens a store of the damage tests. */
export async function openSubject(
  files: FaultyFiles,
  options: TextOptions = {},
): Promise<TextStore> {
  const store = await openOn(files, { clock: () => NOW_MS, sync: 'never', ...options })
  // A damaged checkpoint is reported, and replaced.
  store.on('error', () => undefined)
  return store
}

/** A store that is to be damaged, on a machine that does not change. */
export class Subject {
  readonly names: readonly string[]
  readonly manifest: Manifest
  readonly #files: FaultyFiles
  readonly #records = new Map<string, readonly SegmentRecord[]>()

  constructor(files: FaultyFiles) {
    this.#files = files
    this.names = (files.list(DISK) ?? []).sort()
    const manifest = readManifest(files, DISK)
    if (manifest === undefined) throw new Error('The store has no manifest')
    this.manifest = manifest
    for (const name of this.segments) {
      this.#records.set(name, recordsOf(this.bytes(name), manifest.storeId))
    }
  }

  /** The names of its segments, oldest first. */
  get segments(): string[] {
    return this.names.filter((name) => parseName(name).type === 'segment')
  }

  get hints(): string[] {
    return this.names.filter((name) => parseName(name).type === 'hint')
  }

  /** The names of the segments that the manifest lists. */
  get listed(): string[] {
    return this.manifest.segments.map(({ id }) => segmentName(id)).sort()
  }

  /** The newest segment. */
  get tail(): string {
    return this.segments.find((name) => !this.listed.includes(name)) ?? ''
  }

  bytes(name: string): Buffer {
    return this.#files.peek(join(DISK, name)) ?? Buffer.alloc(0)
  }

  records(name: string): readonly SegmentRecord[] {
    return this.#records.get(name) ?? []
  }

  get allRecords(): SegmentRecord[] {
    return [...this.#records.values()].flat()
  }

  /** Returns the least size of a segment according to the manifest. */
  expectedSize(name: string): number {
    const { segments, tailId, tailSize } = this.manifest
    if (name === segmentName(tailId)) return tailSize
    return segments.find(({ id }) => segmentName(id) === name)?.size ?? 0
  }

  hasHint(segment: string): boolean {
    const parsed = parseName(segment)
    return parsed.type === 'segment' && this.names.includes(hintName(parsed.id))
  }

  /** Returns the machine with changed files; `undefined` for missing ones. */
  with(changes: ReadonlyMap<string, Buffer | undefined>): FaultyFiles {
    const files = this.#files.restart(1)
    for (const [name, bytes] of changes) files.poke(join(DISK, name), bytes)
    return files
  }
}

/**
 * Makes a small store with a file of each kind: a merged segment and a sealed one that was
 * appended, each with its hint; a tail with each kind of record; and, if `closed`, a checkpoint.
 */
export async function smallSubject(closed: boolean): Promise<Subject> {
  const files = new FaultyFiles(1)
  const store = await openSubject(files)
  await store.put('live', 'merged')
  await store.put('put', 'oldest')
  await store.put('put', 'older')
  await store.put('deleted', 'value')
  await store.merge()
  await store.put('sealed', 'in an appended segment')
  await store.put('put', 'old')
  await store.put('expiring', 'older')
  await store.merge()
  await idle(store)
  await store.put('put', 'newest')
  await store.delete('deleted')
  await store.put('expiring', 'gone', { expiresAt: LATER_MS - 2 })
  await store.put('expires', 'later', { expiresAt: LATER_MS })
  await store.batch().put('batch 1', 'b').put('batch 2', '').delete('live').commit()
  if (closed) await store.close()
  const machine = files.restart(1)
  if (!closed) await store.close()
  return new Subject(machine)
}

/** Makes a store of several segments with merged ones, batches, tombstones and expired records. */
export async function largeSubject(seed: number, closed: boolean): Promise<Subject> {
  const random = new Random(seed)
  const files = new FaultyFiles(seed)
  const store = await openSubject(files)
  const key = (): string => `key ${String(random.below(random.chance(0.5) ? 30 : 300))}`
  const value = (): string => `${random.below(1e6)} `.repeat(random.below(120))
  for (let step = 0; step < 900; step++) {
    const drawn = random.below(100)
    if (drawn < 65) await store.put(key(), value())
    else if (drawn < 80) await store.delete(key())
    else if (drawn < 85) await store.put(key(), value(), { expiresAt: NOW_MS + random.below(3) })
    else if (drawn < 99) {
      const batch = store.batch()
      for (let count = 1 + random.below(6); count > 0; count--) {
        if (random.chance(0.7)) batch.put(key(), value())
        else batch.delete(key())
      }
      await batch.commit()
    } else if (step > 300) {
      await store.sync()
      await store.merge({ byPolicy: true })
    }
  }
  await store.sync()
  await idle(store)
  await store.put('last', 'written')
  if (closed) await store.close()
  const machine = files.restart(1)
  if (!closed) await store.close()
  return new Subject(machine)
}

/** Yields a file with each byte changed: one bit flipped, all bits flipped, 0 and 255. */
export function* flipsOf(bytes: Buffer, from = 0, step = 1): Generator<[at: number, Buffer]> {
  for (let at = from; at < bytes.length; at += step) {
    const byte = bytes[at] ?? 0
    for (const other of new Set([byte ^ (1 << (at % 8)), byte ^ 0xff, 0, 0xff])) {
      if (other !== byte) yield [at, withByte(bytes, at, other)]
    }
  }
}

/** Like {@link flipsOf}, with one change per byte: one bit, half of them or all, in turns. */
export function* singleFlipsOf(bytes: Buffer): Generator<[at: number, Buffer]> {
  for (const [at, byte] of bytes.entries()) {
    const mask = [1 << (at % 8), 0x0f, 0xff][at % 3] ?? 1
    yield [at, withByte(bytes, at, byte ^ mask)]
  }
}

function withByte(bytes: Buffer, at: number, byte: number): Buffer {
  const changed = Buffer.from(bytes)
  changed[at] = byte
  return changed
}

/** Yields the file cut at each byte. */
export function* cutsOf(bytes: Buffer, step = 1): Generator<[size: number, Buffer]> {
  for (let size = 0; size < bytes.length; size += step) yield [size, bytes.subarray(0, size)]
}

/** Returns the record of a byte of a segment; `undefined` for the header. */
export function recordAt(subject: Subject, name: string, at: number): SegmentRecord | undefined {
  if (at < FILE_HEADER_SIZE) return undefined
  return subject.records(name).find(({ offset, size }) => offset <= at && at < offset + size)
}
