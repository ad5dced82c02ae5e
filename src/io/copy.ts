/** Copies of files and of parts of them: of ranges, in slices, and of whole files. */

import { constants, copyFileSync, statSync } from 'node:fs'
import { StoreError } from '../errors.ts'
import { discard, type FileDescriptor, type Files, readFully, writeFully } from './files.ts'

/** The size of a slice of a copy. */
const COPY_SIZE = 1024 * 1024

/**
 * Copies the bytes of a file from `offset` on, up to `size` of them, to a new file, which is
 * durable on return. If that fails, there is no new file.
 *
 * @throws the operating system's error
 */
export function copyRange(
  files: Files,
  from: string,
  offset: number,
  to: string,
  size = Number.POSITIVE_INFINITY,
): void {
  let target: FileDescriptor | undefined
  const source = files.open(from, 'read')
  try {
    target = files.open(to, 'create')
    for (const _ of copySlices(files, source, offset, target, size));
    files.sync(target)
  } catch (error) {
    if (target !== undefined) discard(files, to)
    throw error
  } finally {
    if (target !== undefined) files.close(target)
    files.close(source)
  }
}

/**
 * Copies the bytes of an open file from `offset` on, up to `size` of them, to the beginning of
 * another one. Yields the size of each slice after copying it. Ends early if the source does.
 *
 * @throws the operating system's error
 */
export function* copySlices(
  files: Files,
  source: FileDescriptor,
  offset: number,
  target: FileDescriptor,
  size: number,
): Generator<number, void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(size, COPY_SIZE))
  for (let at = 0; at < size; ) {
    const wanted = Math.min(buffer.length, size - at)
    const read = readFully(files, source, buffer, wanted, offset + at)
    if (read === 0) return
    writeFully(files, target, buffer, read, at)
    at += read
    yield read
  }
}

/**
 * Copies a whole file the fastest way there is: some file systems share the blocks of both files
 * until one of them is written. The copy is not durable on return.
 *
 * @throws {@link StoreError} FIRKIN_READ_FAILED if it is a pipe or a device, which has no end
 * @throws the operating system's error
 */
export function cloneFile(from: string, to: string): void {
  const stats = statSync(from)
  if (!stats.isFile() && !stats.isDirectory()) {
    throw new StoreError('FIRKIN_READ_FAILED', `${from} is not a file`)
  }
  copyFileSync(from, to, constants.COPYFILE_FICLONE)
}
