/** Checks a store whose writer was killed. */

import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { hintName, segmentName } from '../../src/format/names.ts'
import type { KeydirKind, RecoveryReport } from '../../src/index.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { systemFiles } from '../../src/io/files.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { Store } from '../../src/store/store.ts'
import { assertFigures, shownBy } from '../recovery/inspection.ts'
import type { History } from '../support/history.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import type { RoundPlan } from './plan.ts'

/** The way in which the store is opened, and the moment of its clock. */
export interface CheckOptions extends Pick<RoundPlan, 'removed' | 'checkedWith' | 'reopens'> {
  readonly nowMs: number
}

/**
 * Opens a store that no other process has open, and settles its history on the state that it shows.
 * With `reopens`, opens it to write, and closes it; otherwise only removes what `removed` names.
 *
 * @returns the report of the opening
 * @throws Error that says which promise is broken
 */
export async function check(
  directory: string,
  history: History,
  { removed, checkedWith, reopens, nowMs }: CheckOptions,
): Promise<RecoveryReport> {
  removeShortcuts(directory, removed)
  const keys = history.keys
  const reader = await openAt(directory, checkedWith, nowMs, true)
  const { recovery } = reader.stats()
  const seen = shownBy(reader, keys)
  await reader.close()
  history.settleOn(seen, nowMs, 'settled')
  if (!reopens) return recovery

  const store = await openAt(directory, checkedWith, nowMs, false)
  const errors: Error[] = []
  store.on('error', (error) => errors.push(error))
  history.settleOn(shownBy(store, keys), nowMs, 'durable')
  if (history.state(nowMs).size !== seen.size) throw new Error('Opening to write shows less')
  assertFigures(store)
  await hintsOf(store)
  assertNothingFound((await store.verify()).findings)
  await store.close()
  assertNothingFound((await verifyDirectory(systemFiles, directory)).findings)
  assertNothingLeft(directory)
  if (errors[0] !== undefined) throw errors[0]
  return recovery
}

async function openAt(
  directory: string,
  keydir: KeydirKind,
  nowMs: number,
  readOnly: boolean,
): Promise<Store<string, 'utf8'>> {
  return await Store.open<string, 'utf8'>(
    directory,
    {
      valueEncoding: 'utf8',
      createIfMissing: false,
      keydir,
      readOnly,
      merge: { automatic: false },
      clock: () => nowMs,
    },
    { files: systemFiles, backgroundWork: inProcessWork(systemFiles) },
  )
}

function removeShortcuts(directory: string, removed: CheckOptions['removed']): void {
  for (const name of readdirSync(directory)) {
    const goes = name === 'CHECKPOINT' ? 'checkpoint' : name.endsWith('.hint') ? 'hints' : undefined
    if (goes !== undefined && removed.includes(goes)) rmSync(join(directory, name))
  }
}

/** Resolves when every sealed segment has its hint. */
async function hintsOf(store: Store<string, 'utf8'>): Promise<void> {
  const ids = store.stats().segments.flatMap(({ id, active }) => (active ? [] : [id]))
  while (!ids.every((id) => existsSync(join(store.directory, hintName(id))))) await setImmediate()
}

function assertNothingFound(findings: readonly object[]): void {
  if (findings.length > 0) throw new Error(`Verification found ${JSON.stringify(findings)}`)
}

function assertNothingLeft(directory: string): void {
  const names = new Set(readdirSync(directory))
  const manifest = readManifest(systemFiles, directory)
  for (const { id } of manifest?.segments ?? []) {
    names.delete(segmentName(id))
    names.delete(hintName(id))
  }
  if (manifest !== undefined && manifest.tailSize > 0) names.delete(segmentName(manifest.tailId))
  for (const name of ['MANIFEST', 'CHECKPOINT', 'LOCK', 'RESERVE']) names.delete(name)
  if (names.size > 0) throw new Error(`Left over: ${[...names].join(', ')}`)
}
