/** Copies a store, for `backup` and `restore`. */

import { resolve } from 'node:path'
import { StoreError } from '../src/errors.ts'
import { requireManifest } from '../src/inspection/directory.ts'
import { systemFiles } from '../src/io/files.ts'
import { isFree } from '../src/store/backup.ts'
import { STATUS, type Status, UsageError } from './failure.ts'
import type { Call } from './session.ts'
import { openToRead } from './store.ts'
import { countOf, showText } from './text.ts'
import { verifyStore } from './verification.ts'

/**
 * Copies a store to a directory that is empty or does not exist, and verifies both.
 *
 * @throws {@link StoreError} FIRKIN_EXISTS, FIRKIN_NOT_FOUND, FIRKIN_CORRUPT, FIRKIN_WRITE_FAILED
 */
export async function copyStore(
  call: Call,
  from: string,
  to: string,
  done: 'Backed up' | 'Restored',
): Promise<Status> {
  const { output, interrupt } = call
  if (to === '') throw new UsageError('The name of the target is empty')
  const target = resolve(to)
  requireManifest(systemFiles, resolve(from))
  if (!isFree(systemFiles.list(target) ?? [])) {
    throw new StoreError('FIRKIN_EXISTS', `${target} is not empty`)
  }
  call.summarise(() => `There is no store in ${target}`)
  await assertSound(call, from)
  const report = await copy()
  call.summarise(() => `The copy in ${target} is whole, but was not verified`)
  await assertSound(call, target)

  const { segments, bytesCopied, bytesLinked } = report
  if (output.isJson) await output.json({ ...report, verified: true })
  else {
    await output.line(
      `${done} ${countOf(segments, 'segment')} to ${showText(target)}: ${output.size(bytesCopied)} copied, ` +
        `${output.size(bytesLinked)} linked, verified`,
    )
  }
  return STATUS.fine

  async function copy() {
    await using store = await openToRead(from, output)
    using progress = output.progress('copy', 'bytes')
    return await store.backup(target, {
      signal: interrupt,
      onProgress: ({ bytesDone, bytesTotal }) => progress.update(bytesDone, bytesTotal),
    })
  }
}

/** @throws {@link StoreError} FIRKIN_CORRUPT */
async function assertSound(call: Call, directory: string): Promise<void> {
  const { ok, findings } = await verifyStore(call, directory)
  if (ok) return
  const damage = findings.filter(({ severity }) => severity === 'damage')
  for (const { file, offset, message } of damage) {
    call.output.warn(`${file}, offset ${offset}: ${message}`)
  }
  throw new StoreError(
    'FIRKIN_CORRUPT',
    `${resolve(directory)} has ${countOf(damage.length, 'damaged place')}`,
  )
}
