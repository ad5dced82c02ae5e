/**
 * Repair: makes a damaged directory a store that verifies, and reports what is missing.
 *
 * 1. If there is a second directory, copy the store there and repair the copy.
 * 2. Salvage the sound records (salvage.ts).
 * 3. Set aside what salvage leaves and verification does not accept: shortcuts, leftovers, torn
 *    bytes.
 * 4. Rebuild the hints. Open the store, which cuts a torn tail, and close it, which writes the
 *    checkpoint.
 * 5. Verify.
 *
 * Invariant: nothing is deleted. What is taken out is kept in the directory, under a name that the
 * store does not see.
 */

import { basename, join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import {
  DAMAGED_SUFFIX,
  holdsStore,
  LEFTOVER_SUFFIX,
  MANIFEST_NAME,
  parseName,
} from '../format/names.ts'
import { assertChangeable } from '../inspection/directory.ts'
import type { Finding } from '../inspection/findings.ts'
import { type VerifyReport, verifyDirectory } from '../inspection/verify.ts'
import { cloneFile } from '../io/copy.ts'
import { discard, errorCode, type Files, systemFiles, withFile } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import { lockHolder } from '../io/lock.ts'
import { assertMaySync } from '../io/permission.ts'
import { resolveOptions } from '../options.ts'
import type { LossReport, TornTail } from '../recovery/report.ts'
import { KeptFiles } from '../salvage/kept-files.ts'
import { salvageStore } from '../salvage/salvage.ts'
import { nextTurn } from '../scheduling/time.ts'
import { buildHint } from '../segment/hint-file.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { isFree } from './backup.ts'
import { open } from './store.ts'

/** The report of a repair. */
export interface RepairReport {
  /** The directory that was repaired. */
  readonly directory: string
  readonly dryRun: boolean
  readonly lost: LossReport
  /** The bytes at the end that a crash left unfinished: they were never promised. */
  readonly torn: readonly TornTail[]
  /** The names of shortcuts that were rebuilt, or with `dryRun` would be. */
  readonly rebuilt: readonly string[]
  /** The paths of everything that was taken out of the store. */
  readonly kept: readonly string[]
  /** Whether the repaired store has no damage; with `dryRun` whether it has none to repair. */
  readonly verified: boolean
  /** The error that ended the repair early, after the lost records were already taken out. */
  readonly failure?: unknown
}

/** Called with the progress of a step, in bytes. What it throws ends the repair. */
export type RepairWatch = (step: 'verify' | 'salvage', done: number, total: number) => void

const NOTHING_LOST: LossReport = {
  manifestRebuilt: false,
  damaged: [],
  torn: [],
  bytesLost: 0,
  recordsLost: 0,
  bytesUnknown: 0,
  keys: [],
  kept: [],
}

/**
 * Reports what a repair would do. Nothing is changed.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_NOT_FOUND, FIRKIN_VERSION
 */
export async function explainRepair(directory: string, watch: RepairWatch): Promise<RepairReport> {
  assertRepairable(directory)
  const { ok, findings } = await verify(directory, watch)
  const lost = ok ? NOTHING_LOST : await explainSalvage(directory, watch)
  return {
    directory,
    dryRun: true,
    lost,
    torn: ok ? tornTails(systemFiles, findings) : lost.torn,
    rebuilt: findings.filter(isShortcut).map(({ file }) => basename(file)),
    kept: [],
    verified: ok,
  }
}

/**
 * Repairs the store in a directory.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_WRITE_FAILED;
 * FIRKIN_OTHER_KIND for a cache, whose sound records may be older than the lost ones that had
 * replaced them
 */
export async function repairStore(directory: string, watch: RepairWatch): Promise<RepairReport> {
  assertMaySync()
  assertRepairable(directory)
  assertChangeable(systemFiles, directory)
  const held = HeldFiles.hold(systemFiles, directory, 'locked')
  try {
    return await new Repair(held, directory, watch).run()
  } finally {
    held.release()
  }
}

/**
 * Copies the files of a store, damaged or not, to a directory that is empty or does not exist.
 *
 * @throws {@link StoreError} FIRKIN_EXISTS, FIRKIN_LOCKED, FIRKIN_NOT_FOUND, FIRKIN_OTHER_KIND,
 * FIRKIN_READ_FAILED, FIRKIN_WRITE_FAILED
 */
export async function copyDamaged(
  directory: string,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  assertRepairable(directory)
  assertChangeable(systemFiles, directory)
  if (!isFree(systemFiles.list(target) ?? [])) {
    throw new StoreError('FIRKIN_EXISTS', `${target} is not empty`)
  }
  systemFiles.makeDirectory(target)
  const made: string[] = []
  try {
    for (const name of systemFiles.list(directory) ?? []) {
      if (['foreign', 'lock', 'reserve'].includes(parseName(name).type)) continue
      await nextTurn()
      signal.throwIfAborted()
      made.push(join(target, name))
      cloneFile(join(directory, name), join(target, name))
    }
  } catch (error) {
    for (const path of made) discard(systemFiles, path)
    if (signal.aborted || error instanceof StoreError) throw error
    throw new StoreError('FIRKIN_WRITE_FAILED', `Cannot copy ${directory} to ${target}`, {
      cause: error,
    })
  }
}

/** @throws {@link StoreError} if there is no store, or it is in use */
function assertRepairable(directory: string): void {
  const names = systemFiles.list(directory)
  if (names === undefined) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no directory ${directory}`)
  }
  if (!holdsStore(names)) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${directory}`)
  }
  const holder = lockHolder(directory)
  if (holder !== undefined) {
    throw new StoreError(
      'FIRKIN_LOCKED',
      `The store in ${directory} is open for writing by ${holder}`,
    )
  }
}

/** The repair of a locked directory. */
class Repair {
  readonly #files: HeldFiles
  readonly #directory: string
  /** The path as the caller gave it. */
  readonly #given: string
  readonly #watch: RepairWatch
  readonly #keptFiles: KeptFiles
  readonly #torn: TornTail[] = []
  readonly #kept: string[] = []
  readonly #rebuilt: string[] = []

  constructor(files: HeldFiles, given: string, watch: RepairWatch) {
    this.#files = files
    this.#directory = files.directory
    this.#given = given
    this.#watch = watch
    this.#keptFiles = new KeptFiles(files, files.directory)
  }

  async run(): Promise<RepairReport> {
    const first = await verify(this.#directory, this.#watch)
    if (first.ok) {
      const verified = await this.#finish(first)
      return this.#report(NOTHING_LOST, verified)
    }
    const lost = await this.#salvage()
    try {
      const verified = await this.#finish(await verify(this.#directory, this.#watch))
      return this.#report(lost, verified)
    } catch (error) {
      // Only now is it known what is lost: the error must not hide it.
      return { ...this.#report(lost, false), failure: error }
    }
  }

  /** Salvages the sound records. If that fails, nothing has been changed. */
  async #salvage(): Promise<LossReport> {
    const takeBack = this.#setManifestAside()
    try {
      return await salvage(this.#files, false, this.#watch)
    } catch (error) {
      takeBack()
      if (error instanceof StoreError || errorCode(error) === undefined) throw error
      throw new StoreError('FIRKIN_WRITE_FAILED', `${this.#directory} cannot be repaired`, {
        cause: error,
      })
    }
  }

  /** Repairs what salvage leaves to be repaired. Returns whether all is sound afterwards. */
  async #finish({ findings }: VerifyReport): Promise<boolean> {
    this.#torn.push(...tornTails(this.#files, findings))
    const manifest = this.#manifest()
    for (const finding of findings) this.#resolve(finding, manifest)
    this.#files.syncDirectory(this.#directory)
    await this.#openAndClose(manifest)
    return (await verify(this.#directory, this.#watch)).ok
  }

  #report(lost: LossReport, verified: boolean): RepairReport {
    return {
      directory: this.#given,
      dryRun: false,
      lost,
      torn: [...lost.torn, ...this.#torn],
      rebuilt: this.#rebuilt,
      kept: [...lost.kept, ...this.#kept],
      verified,
    }
  }

  /** Sets a damaged manifest aside: salvage does without it. Returns a function that undoes it. */
  #setManifestAside(): () => void {
    try {
      readManifest(this.#files, this.#directory)
      return () => undefined
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
    }
    const path = join(this.#directory, MANIFEST_NAME)
    const kept = this.#keptFiles.putAside(MANIFEST_NAME, DAMAGED_SUFFIX)
    this.#kept.push(kept)
    return () => {
      if (!this.#exists(path)) this.#files.rename(kept, path)
    }
  }

  /** Sets aside what is of no use, and rebuilds a hint. */
  #resolve(finding: Finding, manifest: Manifest): void {
    const { kind, file, offset } = finding
    const name = basename(file)
    if (kind === 'torn') this.#kept.push(this.#keptFiles.keepTorn(name, offset))
    else if (kind === 'leftover') this.#kept.push(this.#keptFiles.putAside(name, LEFTOVER_SUFFIX))
    else if (isShortcut(finding)) {
      if (this.#exists(file)) this.#kept.push(this.#keptFiles.putAside(name, DAMAGED_SUFFIX))
      this.#rebuilt.push(name)
      this.#buildHint(name, manifest)
    }
  }

  /** Builds the hint with this name, if it is a hint's. */
  #buildHint(name: string, { storeId, segments }: Manifest): void {
    const parsed = parseName(name)
    const sealed = segments.find(({ id }) => parsed.type === 'hint' && id === parsed.id)
    if (sealed === undefined) return
    const { id, origin, size } = sealed
    buildHint(this.#files, { directoryId: this.#files.directoryId, storeId, id, origin, size })
  }

  /** Lets recovery cut what is torn, and writes a checkpoint. */
  async #openAndClose({ keydirKind: keydir }: Manifest): Promise<void> {
    // The repair holds the lock already.
    const store = await open(this.#directory, {
      createIfMissing: false,
      keydir,
      lock: false,
      merge: { automatic: false },
    })
    let failure: Error | undefined
    store.on('error', (error) => {
      failure ??= error
    })
    await store.close()
    if (failure !== undefined) throw failure
  }

  #manifest(): Manifest {
    const manifest = readManifest(this.#files, this.#directory)
    if (manifest === undefined) throw new Error(`Salvage left no manifest in ${this.#directory}`)
    return manifest
  }

  #exists(path: string): boolean {
    return this.#files.identify(path) !== undefined
  }
}

async function verify(directory: string, watch: RepairWatch): Promise<VerifyReport> {
  return await verifyDirectory(systemFiles, directory, {
    onProgress: ({ bytesRead, bytesTotal }) => watch('verify', bytesRead, bytesTotal),
  })
}

async function salvage(files: HeldFiles, dryRun: boolean, watch: RepairWatch): Promise<LossReport> {
  const { maxSegmentBytes } = resolveOptions()
  return await salvageStore(files, {
    maxSegmentBytes,
    dryRun,
    nowMs: Date.now(),
    onProgress: ({ bytesRead, bytesTotal }) => watch('salvage', bytesRead, bytesTotal),
  })
}

async function explainSalvage(directory: string, watch: RepairWatch): Promise<LossReport> {
  const held = HeldFiles.hold(systemFiles, directory, 'read')
  try {
    return await salvage(held, true, watch)
  } finally {
    held.release()
  }
}

/** Whether a finding is about a file that only makes opening faster. */
function isShortcut({ kind }: Finding): boolean {
  return kind === 'hint' || kind === 'checkpoint'
}

function tornTails(files: Files, findings: readonly Finding[]): TornTail[] {
  return findings
    .filter(({ kind }) => kind === 'torn')
    .map(({ file, offset }) => {
      const size = withFile(files, file, (opened) => files.size(opened)) ?? offset
      return { file, offset, bytes: size - offset }
    })
}
