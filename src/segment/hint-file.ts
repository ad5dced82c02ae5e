/** Builds, reads and writes the hint files of sealed segments. */

import { join } from 'node:path'
import { FILE_HEADER_SIZE, storeSeed } from '../format/file-header.ts'
import { HINT_HEAD_SIZE, HintEncoder, isHintSize } from '../format/hint.ts'
import { hintName, segmentName, temporaryName } from '../format/names.ts'
import { BATCH_END, keyOffset } from '../format/record.ts'
import { type Files, readFully, withFile } from '../io/files.ts'
import { type DirectoryId, HeldFiles } from '../io/held-files.ts'
import { allocateBuffer } from '../io/memory.ts'
import { installNewFile, writeNewFile } from '../io/new-file.ts'
import { scanSound } from './scan.ts'

/** A sealed segment that needs a hint; plain data, so that it can be sent to another thread. */
export interface HintJob {
  /** The directory of the segment, where its hint is put too. */
  readonly directoryId: DirectoryId
  readonly storeId: Uint8Array
  readonly id: number
  readonly origin: 'appended' | 'merged'
  readonly size: number
  /** A larger hint is not written. @defaultValue any size */
  readonly maxBytes?: number
}

/**
 * Builds the hint of a sealed segment from the segment, and writes it.
 *
 * @throws {@link CorruptionError} if the segment is damaged
 */
export function buildHint(system: Files, job: HintJob): void {
  const files = HeldFiles.at(system, job.directoryId)
  const path = join(files.directory, segmentName(job.id))
  const file = files.open(path, 'read')
  try {
    const encoder = new HintEncoder()
    scanSound(
      {
        files,
        file,
        from: FILE_HEADER_SIZE,
        to: job.size,
        seed: storeSeed(job.storeId),
        ascending: job.origin === 'appended',
        values: false,
      },
      path,
      (fields, page, offset) => {
        if (fields.kind === BATCH_END) return
        encoder.add(page, fields.keyAt - keyOffset(fields.flags), fields, offset)
      },
    )
    const hint = encoder.finish(job.storeId, job.id, job.origin, job.size)
    if (hint.length <= (job.maxBytes ?? Number.POSITIVE_INFINITY)) {
      writeHintFile(files, files.directory, job.id, hint)
    }
  } finally {
    files.close(file)
  }
}

/**
 * Reads the hint of a segment of this size; returns `undefined` if there is none. If the size of
 * the file contradicts its head, only the head is returned, which a decoder refuses.
 */
export function readHintFile(files: Files, path: string, segmentSize: number): Buffer | undefined {
  return withFile(files, path, (file) => {
    const fileSize = files.size(file)
    const head = Buffer.alloc(Math.min(fileSize, HINT_HEAD_SIZE + 1))
    const read = readFully(files, file, head, head.length, 0)
    if (read < HINT_HEAD_SIZE || !isHintSize(head, fileSize, segmentSize)) {
      return head.subarray(0, read)
    }
    const bytes = allocateBuffer(fileSize)
    return bytes.subarray(0, readFully(files, file, bytes, fileSize, 0))
  })
}

/** Writes a hint to its file, whole or not at all. */
export function writeHintFile(files: Files, directory: string, id: number, hint: Uint8Array): void {
  const temporary = join(directory, temporaryName(hintName(id), 0))
  writeNewFile(files, temporary, hint)
  installNewFile(files, temporary, join(directory, hintName(id)))
}
