/** Opens stores for tests. */

import { setImmediate } from 'node:timers/promises'
import { expect } from 'vitest'
import type { ErrorCode } from '../../src/errors.ts'
import { type Files, systemFiles } from '../../src/io/files.ts'
import type { KeyEncoding, StoreSettings } from '../../src/options.ts'
import { Store } from '../../src/store/store.ts'
import { inProcessWork } from './in-process-work.ts'

export const KIB = 1024

/** A store of text, which most tests use. */
export type TextStore = Store<string, 'utf8'>
export type TextOptions = StoreSettings<string, 'utf8'>

/** The directory of stores on files in memory. */
export const DISK = '/disk/store'

const SMALL = { maxSegmentBytes: 64 * KIB, reserveBytes: 0, merge: { automatic: false } } as const

/**
 * Opens a store of text. Its segments are of 64 KiB, and merged only by a call, on this thread. It
 * has no reserve.
 */
export async function openStore(directory: string, options: TextOptions = {}): Promise<TextStore> {
  return await openAny(directory, { valueEncoding: 'utf8', ...options })
}

/** Like {@link openStore}, on files that may fail. */
export async function openOn(files: Files, options: TextOptions = {}): Promise<TextStore> {
  return await openAny(
    DISK,
    { valueEncoding: 'utf8', lock: false, mapping: false, ...options },
    files,
  )
}

/** Like {@link openStore}, for any values and keys. */
export async function openAny<V = Buffer, E extends KeyEncoding = 'utf8'>(
  directory: string,
  options: StoreSettings<V, E> = {},
  files: Files = systemFiles,
): Promise<Store<V, E>> {
  return await Store.open<V, E>(
    directory,
    { ...SMALL, ...options },
    { files, backgroundWork: inProcessWork(files) },
  )
}

/** Waits, turn by turn, until a condition holds. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate()
}

/** Waits until a store on files in memory has finished its background work. */
export async function idle(store: TextStore): Promise<void> {
  // Seals and hints take a few turns, which the store does not report.
  for (let quiet = 0; quiet < 64; quiet++) {
    await setImmediate()
    if (store.stats().merge.running) quiet = 0
  }
}

/** Matches an error with this code. */
export function withCode(code: ErrorCode): object {
  return expect.objectContaining({ code })
}

/** Makes keys that sort by their numbers: `key 000`, `key 001`, … */
export function keysUpTo(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `key ${String(index).padStart(3, '0')}`)
}
