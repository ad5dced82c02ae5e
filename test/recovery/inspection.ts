import { join } from 'node:path'
import { hintName, MANIFEST_NAME, segmentName } from '../../src/format/names.ts'
import { type VerifyReport, verifyDirectory } from '../../src/inspection/verify.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import type { FaultyFiles } from '../support/faulty-files.ts'
import { Trial, type TrialStore } from './trial.ts'

/** Returns everything that a store shows. Each way of asking must show the same. */
export function shownBy(store: TrialStore, keys: Iterable<string>): Map<string, string> {
  const shown = new Map(store.entries())
  const listed = [...shown.keys()]
  const expected = [...listed].sort()
  if (listed.join() !== expected.join()) throw new Error('The keys are out of order')
  if (store.count() !== shown.size)
    throw new Error(`${store.count()} keys are counted, not ${shown.size}`)
  for (const key of new Set([...keys, ...listed])) {
    if (store.get(key) !== shown.get(key)) throw new Error(`get and entries differ at ${key}`)
    if (store.has(key) !== shown.has(key)) throw new Error(`has and entries differ at ${key}`)
  }
  return shown
}

/** Checks the figures of a store's segments against its keys. */
export function assertFigures(store: TrialStore): void {
  const { keys, segments } = store.stats()
  const live = segments.reduce((sum, { livePuts }) => sum + livePuts, 0)
  if (live !== keys) throw new Error(`${live} puts are counted as live; there are ${keys} keys`)
  for (const { id, liveBytes, deadBytes, deadPuts } of segments) {
    if (liveBytes < 0 || deadBytes < 0 || deadPuts < 0)
      throw new Error(`Segment ${id} is miscounted`)
  }
}

/** Fails if verification finds anything. */
async function assertSilent(verify: () => Promise<VerifyReport>): Promise<void> {
  const { findings } = await verify()
  if (findings.length > 0) throw new Error(`Verification found ${JSON.stringify(findings)}`)
}

/** Fails if the directory of a closed store holds anything that the store does not need. */
export function assertTidy({ files, directory }: Trial): void {
  const manifest = readManifest(files, directory)
  const names = new Set(files.list(directory))
  for (const { id } of manifest?.segments ?? []) {
    names.delete(segmentName(id))
    names.delete(hintName(id))
  }
  if (manifest !== undefined && manifest.tailSize > 0) names.delete(segmentName(manifest.tailId))
  names.delete('MANIFEST')
  names.delete('CHECKPOINT')
  if (names.size > 0) throw new Error(`Left over: ${[...names].join(', ')}`)
  if (files.openPaths.length > 0) throw new Error(`Left open: ${files.openPaths.join(', ')}`)
}

/** Tries the states that crashes leave, each of them once. */
export class Survivals {
  readonly #tried = new Set<string>()

  /** The number of states that were tried. */
  get count(): number {
    return this.#tried.size
  }

  /**
   * Opens the state that a crash has left and checks it against the history: it keeps every
   * promise, is sound and tidy, and can be written and reopened twice.
   */
  async assert(trial: Trial, promise: 'settled' | 'durable'): Promise<void> {
    if (this.isNew(trial, promise)) await assertSurvives(trial, promise)
  }

  /**
   * Opens a backup that is finished, or whose manifest is already there.
   *
   * @param files the files as they were left; they are not changed
   */
  async assertBackup(files: FaultyFiles, made: Pick<Trial, 'backedUp' | 'nowMs'>): Promise<void> {
    if (made.backedUp === undefined) return
    const { directory, history, isDone } = made.backedUp
    if (!isDone && files.peek(join(directory, MANIFEST_NAME)) === undefined) return
    const copy = files.restart(1)
    await this.assert(new Trial(copy, {}, history.copy(), made.nowMs, directory), 'durable')
  }

  /** Notes a state that is to be tried. Returns whether it was not tried before. */
  isNew({ files, directory, history, nowMs, options }: Trial, promise: string): boolean {
    const digest = files.digestOf(directory)
    const state = [digest, history.digest, nowMs, promise, options.keydir].join(' ')
    const { size } = this.#tried
    return this.#tried.add(state).size > size
  }
}

/** Like {@link Survivals}, whether or not the state was tried before. */
export async function assertSurvives(trial: Trial, promise: 'settled' | 'durable'): Promise<void> {
  const { files, directory, history } = trial
  const keys = history.keys
  await trial.open()
  history.settleOn(shownBy(trial.store, keys), trial.nowMs, promise)
  assertFigures(trial.store)
  await trial.idle()
  await assertSilent(() => trial.store.verify())
  await trial.close()
  assertTidy(trial)
  for (let round = 0; round < 2; round++) {
    await trial.open()
    history.settleOn(new Map(trial.store.entries()), trial.nowMs, 'durable')
    assertFigures(trial.store)
    const [first = 'first'] = keys
    await trial.batch([
      [`round ${round}`, 10],
      [first, undefined],
    ])
    await trial.put(first, 100)
    await trial.deleteSync('two')
    await trial.idle()
    if (round === 1) await trial.store.merge()
    await trial.idle()
    history.settleOn(shownBy(trial.store, keys), trial.nowMs, 'settled')
    await trial.close()
    assertTidy(trial)
  }
  await assertSilent(() => verifyDirectory(files, directory))
  if (trial.errors.length > 0) throw trial.errors[0]
}
