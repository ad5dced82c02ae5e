/**
 * Repair: from a damaged directory to a store that verifies, and a report of what is missing.
 *
 * 1. With a second directory: copy the store there, and go on with the copy.
 * 2. Salvage: the records that are sound, without those that are not (salvage.ts of the engine).
 * 3. Put aside what salvage left and verification does not accept: shortcuts, leftovers, torn bytes.
 * 4. Make the hints anew, open the store, which cuts a torn tail, and close it, which writes the checkpoint.
 * 5. Verify.
 *
 * Invariant: nothing is deleted. What goes is kept beside, under a name that the store does not see.
 */

import { constants, copyFileSync, existsSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { CorruptionError, StoreError } from '../errors.ts'
import type { Manifest } from '../format/manifest.ts'
import {
  DAMAGED_SUFFIX,
  holdsStore,
  LEFTOVER_SUFFIX,
  MANIFEST_NAME,
  parseName,
  TORN_SUFFIX,
} from '../format/names.ts'
import { assertChangeable } from '../inspection/directory.ts'
import { type Finding, type VerifyReport, verifyDirectory } from '../inspection/verify.ts'
import { copyRange } from '../io/copy.ts'
import { errorCode, systemFiles } from '../io/files.ts'
import { HeldFiles } from '../io/held-files.ts'
import { lockHolder } from '../io/lock.ts'
import { resolveOptions } from '../options.ts'
import type { TornTail } from '../recovery/recovery.ts'
import { type LossReport, salvageStore } from '../salvage/salvage.ts'
import { buildHint } from '../segment/hint-file.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { isFree } from './backup.ts'
import { open } from './store.ts'

/** What a repair found and did. */
export interface RepairReport {
  /** The directory that was repaired. */
  readonly directory: string
  readonly dryRun: boolean
  readonly lost: LossReport
  /** What a crash had left unfinished at the end: it was never promised. */
  readonly torn: readonly TornTail[]
  /** The names of shortcuts that were made anew, or with `dryRun` would be. */
  readonly rebuilt: readonly string[]
  /** The paths under which everything is kept that is of the store no more. */
  readonly kept: readonly string[]
  /** Whether there is no damage: any more, or with `dryRun` at all. */
  readonly verified: boolean
  /** The error that ended the repair early, after what is lost was out of the way. */
  readonly failure?: unknown
}

/** Told how far a step has come, in bytes; what it throws ends the repair. */
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
 * Says what a repair would do; nothing is changed.
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
    torn: ok ? findings.filter(({ kind }) => kind === 'torn').map(tornTail) : lost.torn,
    rebuilt: findings.filter(isShortcut).map(({ file }) => basename(file)),
    kept: [],
    verified: ok,
  }
}

/**
 * Repairs the store in a directory.
 *
 * @throws {@link StoreError} FIRKIN_LOCKED, FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_WRITE_FAILED, and FIRKIN_OTHER_KIND
 * for a cache's: what is sound of it may be what something that is lost had replaced
 */
export async function repairStore(directory: string, watch: RepairWatch): Promise<RepairReport> {
  assertRepairable(directory)
  assertChangeable(systemFiles, directory)
  const held = HeldFiles.hold(systemFiles, directory, 'locked')
  try {
    return await new Restoration(held, directory, watch).run()
  } finally {
    held.release()
  }
}

/**
 * Copies the files of a store, whatever state they are in, into a directory that is empty or does not exist.
 *
 * @throws {@link StoreError} FIRKIN_EXISTS, FIRKIN_LOCKED, FIRKIN_NOT_FOUND, FIRKIN_OTHER_KIND
 */
export async function copyDamaged(
  directory: string,
  target: string,
  interrupt: AbortSignal,
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
      await setImmediate()
      interrupt.throwIfAborted()
      assertFile(join(directory, name))
      made.push(join(target, name))
      copyFileSync(join(directory, name), join(target, name), constants.COPYFILE_FICLONE)
    }
  } catch (error) {
    for (const path of made) rmSync(path, { force: true })
    if (interrupt.aborted || error instanceof StoreError) throw error
    throw new StoreError('FIRKIN_WRITE_FAILED', `Cannot copy ${directory} to ${target}`, {
      cause: error,
    })
  }
}

/** @throws {@link StoreError} FIRKIN_READ_FAILED where there is a pipe or a device, which has no end to be copied up to */
function assertFile(path: string): void {
  const stats = statSync(path)
  if (!stats.isFile() && !stats.isDirectory()) {
    throw new StoreError('FIRKIN_READ_FAILED', `${path} is not a file`)
  }
}

/** @throws {@link StoreError} where there is no store, or it is in use */
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

/** The repair of a directory that is locked. */
class Restoration {
  readonly #files: HeldFiles
  readonly #directory: string
  /** The path as it was given. */
  readonly #given: string
  readonly #watch: RepairWatch
  readonly #torn: TornTail[] = []
  readonly #kept: string[] = []
  readonly #rebuilt: string[] = []

  constructor(files: HeldFiles, given: string, watch: RepairWatch) {
    this.#files = files
    this.#directory = files.directory
    this.#given = given
    this.#watch = watch
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
      // What is lost is known only now, and must not be lost with the error.
      return { ...this.#report(lost, false), failure: error }
    }
  }

  /** Salvages what is sound; where that fails nothing has been changed. */
  async #salvage(): Promise<LossReport> {
    const takeBack = this.#putManifestAside()
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

  /** Mends what salvage leaves to be mended, and answers whether all is sound then. */
  async #finish({ findings }: VerifyReport): Promise<boolean> {
    this.#torn.push(...findings.filter(({ kind }) => kind === 'torn').map(tornTail))
    const manifest = this.#manifest()
    for (const finding of findings) this.#mend(finding, manifest)
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

  /**
   * Puts a manifest aside that is damaged, whatever is in its place: salvage does without it. Answers what takes
   * that back.
   */
  #putManifestAside(): () => void {
    const path = join(this.#directory, MANIFEST_NAME)
    try {
      readManifest(this.#files, this.#directory)
      return () => undefined
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
    }
    const kept = freeName(path + DAMAGED_SUFFIX)
    this.#files.rename(path, kept)
    this.#kept.push(kept)
    return () => {
      if (!existsSync(path)) this.#files.rename(kept, path)
    }
  }

  /** Puts aside what is of no use, and makes a hint anew. */
  #mend(finding: Finding, manifest: Manifest): void {
    const { kind, file } = finding
    if (kind === 'torn') this.#keepTorn(tornTail(finding))
    else if (kind === 'leftover') this.#putAside(file, LEFTOVER_SUFFIX)
    else if (isShortcut(finding)) {
      if (existsSync(file)) this.#putAside(file, DAMAGED_SUFFIX)
      this.#rebuilt.push(basename(file))
      this.#buildHint(file, manifest)
    }
  }

  /** Keeps what the next open cuts. */
  #keepTorn({ file, offset, bytes }: TornTail): void {
    const kept = freeName(file + TORN_SUFFIX)
    copyRange(this.#files, file, offset, kept, bytes)
    this.#kept.push(kept)
  }

  #putAside(path: string, suffix: string): void {
    const kept = freeName(path + suffix)
    this.#files.rename(path, kept)
    this.#kept.push(kept)
  }

  /** Makes the hint with this path, if it is one. */
  #buildHint(path: string, { storeId, segments }: Manifest): void {
    const parsed = parseName(basename(path))
    const sealed = segments.find(({ id }) => parsed.type === 'hint' && id === parsed.id)
    if (sealed === undefined) return
    const { id, origin, size } = sealed
    buildHint(this.#files, { directoryId: this.#files.directoryId, storeId, id, origin, size })
  }

  /** Lets recovery cut what is torn, and writes a checkpoint. */
  async #openAndClose({ keydirKind: keydir }: Manifest): Promise<void> {
    // The lock is held already.
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

/** Whether a finding is of a file that only makes opening faster. */
function isShortcut({ kind }: Finding): boolean {
  return kind === 'hint' || kind === 'checkpoint'
}

function tornTail({ file, offset }: Finding): TornTail {
  return { file, offset, bytes: statSync(file).size - offset }
}

/** A path at which nothing is: what was kept before is not overwritten. */
function freeName(path: string): string {
  for (let number = 1; ; number++) {
    const free = number === 1 ? path : `${path}.${number}`
    if (!existsSync(free)) return free
  }
}
