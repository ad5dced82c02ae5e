/**
 * Verification: every byte of every file of a store, by reading them all. It needs no keydir, so that it serves
 * an open store and a directory alike. Nothing is changed.
 */

import { basename, join } from 'node:path'
import { CorruptionError, StoreError } from '../errors.ts'
import { FILE_HEADER_SIZE, type Predecessor, storeSeed } from '../format/file-header.ts'
import { HintEncoder } from '../format/hint.ts'
import { knownTailSize, type Manifest, type SealedSegment } from '../format/manifest.ts'
import {
  CHECKPOINT_NAME,
  hintName,
  isTemporarySegment,
  MANIFEST_NAME,
  parseName,
  segmentIdsOf,
  segmentName,
} from '../format/names.ts'
import { BATCH_END, keyOffset } from '../format/record.ts'
import { errorCode, type Files, withFile } from '../io/files.ts'
import { verifyCheckpoint } from '../recovery/checkpoint-file.ts'
import { nextTurn } from '../scheduling/time.ts'
import { isBlank, openSegmentFile, readSegmentHeader } from '../segment/file.ts'
import { readHintFile } from '../segment/hint-file.ts'
import { readManifest } from '../segment/manifest-file.ts'
import { findRecord, type ScanEnd, scanSegment } from '../segment/scan.ts'
import { isTorn, lacksFirst, mayBeBlank, TailEnds, tailIdsOf } from '../segment/tail.ts'
import { SegmentUsage } from '../segment/usage.ts'
import { Window } from '../segment/window.ts'

/** What is not as it should be. */
export type FindingKind =
  /** Bytes of the manifest, or what it says. */
  | 'manifest'
  /** Bytes of a segment. */
  | 'segment'
  /** The end of the tail, that a crash has left unfinished. */
  | 'torn'
  /** A hint that is missing, or of no use. */
  | 'hint'
  /** A checkpoint of no use. */
  | 'checkpoint'
  /** A file that is of the store no more. */
  | 'leftover'

/** Something that is not as it should be. */
export interface Finding {
  readonly severity: /** Bytes are wrong: data is lost, or would be. */
    | 'damage'
    /** A shortcut is unusable or something is left over: nothing is lost, the next open mends it. */
    | 'notice'
  readonly kind: FindingKind
  /** The path of the file. */
  readonly file: string
  /** Where in the file, in bytes. */
  readonly offset: number
  readonly message: string
}

/** What verification found. */
export interface VerifyReport {
  /** Whether there is no damage. */
  readonly ok: boolean
  readonly findings: readonly Finding[]
  readonly segments: number
  readonly records: number
  readonly bytes: number
}

/** How far a verification has come, in bytes of segments. */
export interface VerifyProgress {
  readonly bytesRead: number
  readonly bytesTotal: number
}

/** What costs no data. */
const NOTICES: readonly FindingKind[] = ['torn', 'hint', 'checkpoint', 'leftover']

/** How much is read before other work gets its turn. */
const STEP_SIZE = 4 * 1024 * 1024

/** What a verification is told. */
export interface VerifyOptions {
  /**
   * Whether the store is open for writing, so that files come and go: what is left over is not looked for.
   * @defaultValue false
   */
  readonly live?: boolean
  /** Whether the hint of a segment is still being made: it is not missing yet. */
  readonly isHintDue?: (id: number) => boolean
  /** Ends the verification. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: VerifyProgress) => void
}

/**
 * Reads all files of the store in a directory.
 *
 * @throws {@link StoreError} FIRKIN_NOT_FOUND, FIRKIN_VERSION, FIRKIN_READ_FAILED
 */
export async function verifyDirectory(
  files: Files,
  directory: string,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  return await new Verifier(files, directory, options).run()
}

/** A segment's file with what its header says. */
interface OpenedSegment {
  readonly file: number
  readonly size: number
  readonly origin: 'appended' | 'merged'
  readonly predecessor: Predecessor | undefined
}

class Verifier {
  readonly #files: Files
  readonly #directory: string
  readonly #options: VerifyOptions
  readonly #findings: Finding[] = []
  #records = 0
  #bytesRead = 0
  #bytesTotal = 0

  constructor(files: Files, directory: string, options: VerifyOptions) {
    this.#files = files
    this.#directory = directory
    this.#options = options
  }

  async run(): Promise<VerifyReport> {
    const names = this.#files.list(this.#directory)
    if (names === undefined) {
      throw new StoreError('FIRKIN_NOT_FOUND', `There is no directory ${this.#directory}`)
    }
    const manifest = await this.#reading(MANIFEST_NAME, () =>
      this.#guard(() => readManifest(this.#files, this.#directory)),
    )
    if (manifest === undefined) {
      if (
        this.#findings.length === 0 &&
        !names.some((name) => parseName(name).type === 'segment')
      ) {
        throw new StoreError('FIRKIN_NOT_FOUND', `There is no store in ${this.#directory}`)
      }
      if (this.#findings.length === 0) {
        this.#add('manifest', this.#path(MANIFEST_NAME), 0, 'The manifest is missing')
      }
      return this.#report(0)
    }
    // Again, where a writer may have begun the tail that the manifest names since.
    const tailIds = this.#tailIds(this.#files.list(this.#directory) ?? names, manifest)
    this.#bytesTotal = manifest.segments.reduce((sum, { size }) => sum + size, 0)
    for (const id of tailIds) this.#bytesTotal += this.#sizeOf(id, manifest)
    for (const sealed of manifest.segments) {
      await this.#reading(segmentName(sealed.id), () => this.#verifySealed(sealed, manifest))
      await this.#giveWay()
    }
    const tail = new TailEnds(manifest.tailId)
    for (const id of tailIds) {
      await this.#reading(segmentName(id), () => this.#verifyTail(id, manifest, tail))
      await this.#giveWay()
    }
    await this.#reading(CHECKPOINT_NAME, () => this.#verifyCheckpoint(manifest))
    if (this.#options.live !== true) this.#findLeftovers(names, manifest, tailIds)
    return this.#report(manifest.segments.length + tailIds.length)
  }

  #report(segments: number): VerifyReport {
    return {
      ok: this.#findings.every(({ severity }) => severity !== 'damage'),
      findings: this.#findings,
      segments,
      records: this.#records,
      bytes: this.#bytesRead,
    }
  }

  /** Says of which file it was that the operating system refuses to read. */
  async #reading<T>(name: string, read: () => T | Promise<T>): Promise<T> {
    try {
      return await read()
    } catch (error) {
      throw asReadFailure(error, this.#path(name))
    }
  }

  async #verifySealed(sealed: SealedSegment, manifest: Manifest): Promise<void> {
    const path = this.#path(segmentName(sealed.id))
    const opened = this.#open(sealed.id, manifest)
    if (opened === undefined) return
    try {
      const { file, size, origin } = opened
      if (size !== sealed.size) {
        const message = `The file has ${size} bytes; the manifest says ${sealed.size}`
        this.#add('segment', path, Math.min(size, sealed.size), message)
      }
      if (origin !== sealed.origin) {
        this.#add(
          'segment',
          path,
          0,
          `The segment is ${origin}; the manifest says ${sealed.origin}`,
        )
      }
      const usage = new SegmentUsage()
      const hint = new HintEncoder()
      const to = Math.min(size, sealed.size)
      const whole = await this.#scanAll(file, path, to, manifest, origin, usage, hint)
      if (!whole) return
      const counted = usage.seal(sealed.id, sealed.origin)
      for (const name of Object.keys(counted) as (keyof SealedSegment)[]) {
        if (counted[name] === sealed[name]) continue
        const message = `The manifest says ${name} ${sealed[name]}; it is ${counted[name]}`
        this.#add('manifest', this.#path(MANIFEST_NAME), 0, message)
      }
      await this.#reading(hintName(sealed.id), () => this.#verifyHint(sealed, manifest, hint))
    } finally {
      this.#files.close(opened.file)
    }
  }

  /** Verifies a segment of the tail; where it is torn that is a notice, for the next open cuts it. */
  async #verifyTail(id: number, manifest: Manifest, tail: TailEnds): Promise<void> {
    const path = this.#path(segmentName(id))
    const opened = this.#open(id, manifest)
    if (opened === undefined) {
      if (this.#hasGone(id, manifest)) tail.ends(id, Number.POSITIVE_INFINITY, false)
      return
    }
    const { file, size, predecessor } = opened
    try {
      if (!tail.goesOn(predecessor)) {
        this.#add('torn', path, 0, `${size} bytes follow the end of the store`)
        return
      }
      const known = knownTailSize(manifest, id)
      if (size < known) {
        const message = `The file has ${size} bytes; the manifest says ${known}`
        this.#add('segment', path, size, message)
      }
      const usage = new SegmentUsage()
      const begin = { from: FILE_HEADER_SIZE, preallocatedFrom: known }
      const end = await this.#scan(file, size, manifest, 'appended', usage, undefined, begin)
      this.#bytesRead += size
      this.#reportProgress(0)
      if (end.faultAt === undefined) {
        tail.ends(id, end.end, false)
        return
      }
      const next = findRecord(this.#scanOptions(file, end.faultAt, size, manifest), end.maxSequence)
      const isCut = isTorn(end.end, known, next)
      // What is damaged is looked at as if it were whole, so that more of it is found.
      tail.ends(id, isCut ? end.end : size, isCut)
      if (isCut) this.#add('torn', path, end.end, `${size - end.end} bytes are unfinished`)
      else this.#add('segment', path, end.faultAt, end.fault)
    } finally {
      this.#files.close(file)
    }
  }

  /** Scans to the end, past every damaged piece; whether there was none. */
  async #scanAll(
    file: number,
    path: string,
    to: number,
    manifest: Manifest,
    origin: 'appended' | 'merged',
    usage: SegmentUsage,
    hint: HintEncoder,
  ): Promise<boolean> {
    let from = FILE_HEADER_SIZE
    let whole = true
    while (from < to) {
      const end = await this.#scan(file, to, manifest, origin, usage, hint, { from })
      if (end.faultAt === undefined) break
      whole = false
      this.#add('segment', path, end.faultAt, end.fault)
      const next = findRecord(this.#scanOptions(file, end.faultAt + 1, to, manifest), 0)
      if (next === undefined) break
      from = next
    }
    this.#bytesRead += to
    this.#reportProgress(0)
    return whole
  }

  async #scan(
    file: number,
    to: number,
    manifest: Manifest,
    origin: 'appended' | 'merged',
    usage: SegmentUsage,
    hint: HintEncoder | undefined,
    begin: { readonly from: number; readonly preallocatedFrom?: number },
  ): Promise<ScanEnd> {
    const window = new Window(this.#files, file, to)
    let { from } = begin
    let lastSequence = 0
    for (;;) {
      const options = {
        ...this.#scanOptions(file, from, to, manifest),
        ascending: origin === 'appended',
        batches: origin === 'appended' ? 'whole' : 'loose',
        window,
        preallocatedFrom: begin.preallocatedFrom,
      } as const
      const end = scanSegment(options, (fields, page, offset) => {
        this.#records++
        usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
        if (fields.kind !== BATCH_END) {
          hint?.add(page, fields.keyAt - keyOffset(fields.flags), fields, offset)
        }
        return offset - from < STEP_SIZE ? undefined : false
      })
      if (end.faultAt !== undefined || end.end + end.preallocatedSize >= to || end.end === from)
        return end
      if (origin === 'appended' && end.maxSequence <= lastSequence) {
        return { ...end, faultAt: from, fault: 'Sequences do not ascend' }
      }
      lastSequence = end.maxSequence
      from = end.end
      this.#reportProgress(from)
      await this.#giveWay()
    }
  }

  /** Lets other work have its turn; ends here where that is wished. */
  async #giveWay(): Promise<void> {
    await nextTurn()
    this.#options.signal?.throwIfAborted()
  }

  /** Reports how far it has come; `begun` is what of a segment has been read that is not read to its end. */
  #reportProgress(begun: number): void {
    this.#options.onProgress?.({
      bytesRead: this.#bytesRead + begun,
      bytesTotal: this.#bytesTotal,
    })
  }

  #verifyHint(sealed: SealedSegment, manifest: Manifest, expected: HintEncoder): void {
    const path = this.#path(hintName(sealed.id))
    const hint = this.#guard(() => readHintFile(this.#files, path, sealed.size))
    if (hint === undefined) {
      const isDue = this.#options.isHintDue?.(sealed.id) ?? false
      if (!isDue) this.#add('hint', path, 0, 'The hint is missing')
      return
    }
    const { storeId } = manifest
    const whole = expected.finish(storeId, sealed.id, sealed.origin, sealed.size)
    const difference = firstDifference(hint, whole)
    if (difference !== undefined) {
      this.#add('hint', path, difference, 'The hint does not match its segment')
    }
  }

  #verifyCheckpoint(manifest: Manifest): void {
    const path = this.#path(CHECKPOINT_NAME)
    this.#guard(() => verifyCheckpoint(this.#files, path, manifest.storeId))
  }

  #findLeftovers(names: readonly string[], manifest: Manifest, tailIds: readonly number[]): void {
    const ids = new Set([...manifest.segments.map(({ id }) => id), ...tailIds])
    for (const name of names) {
      const parsed = parseName(name)
      const isLeftover =
        (parsed.type === 'temporary' && !this.#isNextSegment(name)) ||
        ((parsed.type === 'segment' || parsed.type === 'hint') && !ids.has(parsed.id))
      if (isLeftover) this.#add('leftover', this.#path(name), 0, 'The file is left over')
    }
  }

  /** Whether a temporary file is the next segment's, which a writer has created ahead: it has no bytes yet. */
  #isNextSegment(name: string): boolean {
    if (!isTemporarySegment(name)) return false
    return withFile(this.#files, this.#path(name), (file) => this.#files.size(file)) === 0
  }

  /** The ids of the segments behind the manifest's that were appended. */
  #tailIds(names: readonly string[], manifest: Manifest): number[] {
    const ids = tailIdsOf(segmentIdsOf(names), manifest)
    const { tailId } = manifest
    if (lacksFirst(ids, manifest) && !this.#hasGone(tailId, manifest)) {
      this.#add('segment', this.#path(segmentName(tailId)), 0, 'The segment is missing')
    }
    return ids.filter((id) => this.#isTail(id, manifest))
  }

  /** Whether a segment behind the manifest's was appended, and has a header. */
  #isTail(id: number, manifest: Manifest): boolean {
    const opened = this.#guard(
      () => openSegmentFile(this.#context(manifest), id),
      () => this.#hasGone(id, manifest),
    )
    if (opened === undefined) return false
    const { file, path, size } = opened
    try {
      if (mayBeBlank(id, manifest) && isBlank(this.#files, file, size)) return false
      const header = this.#guardQuietly(() =>
        readSegmentHeader(this.#context(manifest), file, path, id),
      )
      return header === undefined || header === 'short' || header.origin === 'appended'
    } catch (error) {
      throw asReadFailure(error, path)
    } finally {
      this.#files.close(file)
    }
  }

  /** The size of a segment's file; 0 where it is not to be read. */
  #sizeOf(id: number, manifest: Manifest): number {
    const opened = this.#guardQuietly(() => openSegmentFile(this.#context(manifest), id))
    if (opened === undefined) return 0
    this.#files.close(opened.file)
    return opened.size
  }

  /** Opens a segment; where it is missing that is damage, unless a merge of the writer has taken it away meanwhile. */
  #open(id: number, manifest: Manifest): OpenedSegment | undefined {
    const context = this.#context(manifest)
    const opened = this.#guard(
      () => openSegmentFile(context, id),
      () => this.#hasGone(id, manifest),
    )
    if (opened === undefined) return undefined
    const { file, path, size } = opened
    const header = this.#guard(() => readSegmentHeader(context, file, path, id))
    if (header === undefined || header === 'short' || header.origin === 'none') {
      if (header === 'short') this.#add('segment', path, size, 'The file ends inside its header')
      this.#files.close(file)
      return undefined
    }
    return { file, size, origin: header.origin, predecessor: header.predecessor }
  }

  /** Whether a merge of the writer has deleted a segment since `manifest` was read. */
  #hasGone(id: number, { generation }: Manifest): boolean {
    if (this.#options.live !== true || this.#exists(id)) return false
    const now = readManifest(this.#files, this.#directory)
    if (now === undefined || now.generation === generation) return false
    return id !== now.tailId && !now.segments.some((sealed) => sealed.id === id)
  }

  #exists(id: number): boolean {
    return (this.#files.list(this.#directory) ?? []).includes(segmentName(id))
  }

  #context(manifest: Manifest) {
    return { files: this.#files, directory: this.#directory, storeId: manifest.storeId }
  }

  #scanOptions(file: number, from: number, to: number, manifest: Manifest) {
    return {
      files: this.#files,
      file,
      from,
      to,
      seed: storeSeed(manifest.storeId),
      ascending: false,
      batches: 'loose',
      values: false,
    } as const
  }

  /** Runs `read`; damage that it finds is noted, unless it is excused, and nothing answered then. */
  #guard<T>(read: () => T, isExcused = (): boolean => false): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      if (isExcused()) return undefined
      const { file, offset } = error
      const place = ` (${file}, offset ${offset})`
      this.#add(kindOf(file), file, offset, error.message.replace(place, ''))
      return undefined
    }
  }

  /** As `#guard`, for what is read once more later. */
  #guardQuietly<T>(read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      return undefined
    }
  }

  #add(kind: FindingKind, file: string, offset: number, message: string): void {
    const severity = NOTICES.includes(kind) ? 'notice' : 'damage'
    this.#findings.push({ severity, kind, file, offset, message })
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }
}

function asReadFailure(error: unknown, path: string): unknown {
  if (error instanceof StoreError || errorCode(error) === undefined) return error
  return new StoreError('FIRKIN_READ_FAILED', `Cannot read ${path}`, { cause: error })
}

function kindOf(file: string): FindingKind {
  const { type } = parseName(basename(file))
  return type === 'manifest' || type === 'hint' || type === 'checkpoint' ? type : 'segment'
}

function firstDifference(left: Uint8Array, right: Uint8Array): number | undefined {
  const size = Math.min(left.length, right.length)
  for (let at = 0; at < size; at++) if (left[at] !== right[at]) return at
  return left.length === right.length ? undefined : size
}
