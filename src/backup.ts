/**
 * A consistent copy of a store, while it is written.
 *
 * 1. Make all that is written durable, and note which segments there are and how far the active one reaches.
 * 2. Give each segment that does not change a second name in the target; where that cannot be, copy it.
 * 3. Copy the active segment, as far as it was noted.
 * 4. Write the target's manifest, last: without it the target is no store.
 */

import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Engine } from './engine.ts'
import { StoreError } from './errors.ts'
import { hintName, segmentName } from './format/names.ts'
import { errorCode, type Files, readFully, writeFully } from './io/files.ts'
import { Segments } from './segment/segments.ts'

/** What a backup did. */
export interface BackupReport {
  readonly directory: string
  readonly segments: number
  /** Bytes that were given a second name. */
  readonly bytesLinked: number
  readonly bytesCopied: number
}

const COPY_SIZE = 1024 * 1024

/**
 * Backs a store up into a directory that is empty or does not exist.
 *
 * @throws {@link StoreError} FIRKIN_EXISTS, FIRKIN_WRITE_FAILED
 */
export async function backUp(engine: Engine, target: string): Promise<BackupReport> {
  const { files } = engine.segments.home
  if ((files.list(target) ?? []).length > 0) {
    throw new StoreError('FIRKIN_EXISTS', `${target} is not empty`)
  }
  // A view keeps what a merge retires from being deleted.
  const view = engine.views.open(engine.options.clock())
  try {
    engine.flush()
    await engine.durability.sync()
    return await copyStore(engine, files, target)
  } catch (error) {
    if (error instanceof StoreError) throw error
    throw new StoreError('FIRKIN_WRITE_FAILED', `Cannot back up to ${target}`, { cause: error })
  } finally {
    engine.views.close(view)
  }
}

async function copyStore(engine: Engine, files: Files, target: string): Promise<BackupReport> {
  const { segments } = engine
  const { home, active, manifest } = segments
  const tail = segments.tail.map((segment) => ({ segment, size: segment.writtenSize }))
  const listed = new Set(manifest.segments.map(({ id }) => id))
  const sealed = segments.all.filter((segment) => listed.has(segment.id) || segment !== active)
  const last = tail.at(-1)
  const nextSequence = engine.nextSequence
  const unlisted = tail.slice(0, -1).map(({ segment }) => segment)
  let bytesLinked = 0
  let bytesCopied = 0

  files.makeDirectory(target)
  for (const segment of sealed) {
    const name = segmentName(segment.id)
    if (tryLink(files, segment.path, join(target, name))) bytesLinked += segment.usage.size
    else bytesCopied += await copyFile(files, segment.path, join(target, name), segment.usage.size)
    tryLink(files, segment.hintPath, join(target, hintName(segment.id)))
  }
  if (last !== undefined) {
    const { segment, size } = last
    bytesCopied += await copyFile(files, segment.path, join(target, segmentName(segment.id)), size)
  }
  const copy = new Segments(
    { files, directory: target, storeId: home.storeId },
    { ...manifest, nextSequence },
    manifest.nextSegmentId,
    0,
  )
  await copy.commit(() => ({
    nextSegmentId: segments.nextId,
    tailId: last?.segment.id ?? manifest.tailId,
    tailSize: last?.size ?? 0,
    closed: true,
    segments: [
      ...manifest.segments,
      ...unlisted.map((segment) => segment.usage.seal(segment.id, segment.origin)),
    ],
  }))
  return {
    directory: target,
    segments: sealed.length + (last === undefined ? 0 : 1),
    bytesLinked,
    bytesCopied,
  }
}

/** Whether `to` now names the same file; not so across file systems, or where `from` is missing. */
function tryLink(files: Files, from: string, to: string): boolean {
  try {
    files.link(from, to)
    return true
  } catch (error) {
    if (errorCode(error) === undefined || errorCode(error) === 'ENOSPC') throw error
    return false
  }
}

async function copyFile(files: Files, from: string, to: string, size: number): Promise<number> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(COPY_SIZE, size))
  const source = files.open(from, 'read')
  try {
    const target = files.open(to, 'create')
    try {
      for (let at = 0; at < size; ) {
        const read = readFully(files, source, buffer, Math.min(buffer.length, size - at), at)
        if (read === 0) throw new StoreError('FIRKIN_READ_FAILED', `${from} ends before ${size}`)
        writeFully(files, target, buffer, read, at)
        at += read
        await setImmediate()
      }
      await files.syncLater(target)
    } finally {
      files.close(target)
    }
  } finally {
    files.close(source)
  }
  return size
}
