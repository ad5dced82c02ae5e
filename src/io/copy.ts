import { discard, type FileDescriptor, type Files, readFully, writeFully } from './files.ts'

const COPY_SIZE = 1024 * 1024

/**
 * Copies what a file has from `offset` on, up to `size` bytes, to a new file, which is durable on return. Where that fails
 * there is no new file.
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
    const buffer = Buffer.allocUnsafe(Math.min(size, COPY_SIZE))
    for (let at = 0; at < size; ) {
      const wanted = Math.min(buffer.length, size - at)
      const read = readFully(files, source, buffer, wanted, offset + at)
      if (read === 0) break
      writeFully(files, target, buffer, read, at)
      at += read
    }
    files.sync(target)
  } catch (error) {
    if (target !== undefined) discard(files, to)
    throw error
  } finally {
    if (target !== undefined) files.close(target)
    files.close(source)
  }
}
