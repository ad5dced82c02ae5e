/** Verifies the files of segments and their hints against the manifest. */

import { FILE_HEADER_SIZE, type Predecessor, storeSeed } from '../format/file-header.ts'
import { HintEncoder } from '../format/hint.ts'
import { knownTailSize, type Manifest, type SealedSegment } from '../format/manifest.ts'
import { hintName, MANIFEST_NAME } from '../format/names.ts'
import { BATCH_END, keyOffset } from '../format/record.ts'
import type { FileDescriptor } from '../io/files.ts'
import {
  isBlank,
  openSegmentFile,
  readSegmentHeader,
  type SegmentContext,
} from '../segment/file.ts'
import { readHintFile } from '../segment/hint-file.ts'
import { findRecord, type ScanEnd, scanSegment } from '../segment/scan.ts'
import { isTorn, mayBeBlank, type TailEnds } from '../segment/tail.ts'
import { SegmentUsage } from '../segment/usage.ts'
import { Window } from '../segment/window.ts'
import { unlessDamaged } from './findings.ts'
import { asReadFailure } from './read-failure.ts'
import type { Verification } from './verification.ts'

/** The size of records after which other work gets its turn. */
const STEP_SIZE = 4 * 1024 * 1024

/** A segment's file, and what its header says. */
interface OpenedSegment {
  readonly path: string
  readonly file: FileDescriptor
  readonly size: number
  readonly origin: 'appended' | 'merged'
  readonly predecessor: Predecessor | undefined
}

/** Verifies the segments of one manifest. */
export class SegmentVerifier {
  readonly #verification: Verification
  readonly #manifest: Manifest
  readonly #context: SegmentContext

  constructor(verification: Verification, manifest: Manifest) {
    this.#verification = verification
    this.#manifest = manifest
    const { files, directory } = verification
    this.#context = { files, directory, storeId: manifest.storeId }
  }

  /** Verifies a segment that the manifest lists, what the manifest says of it, and its hint. */
  async verifySealed(sealed: SealedSegment): Promise<void> {
    const opened = this.#open(sealed.id)
    if (opened === undefined) return
    try {
      const { path, size, origin } = opened
      if (size !== sealed.size) {
        const message = `The file has ${size} bytes; the manifest says ${sealed.size}`
        this.#findings.add('segment', path, Math.min(size, sealed.size), message)
      }
      if (origin !== sealed.origin) {
        const message = `The segment is ${origin}; the manifest says ${sealed.origin}`
        this.#findings.add('segment', path, 0, message)
      }
      const usage = new SegmentUsage()
      const hint = new HintEncoder()
      const isSound = await this.#scanAll(opened, Math.min(size, sealed.size), usage, hint)
      if (!isSound) return
      this.#compare(usage.seal(sealed.id, sealed.origin), sealed)
      const name = hintName(sealed.id)
      await this.#verification.reading(name, () => this.#verifyHint(sealed, hint))
    } finally {
      this.#context.files.close(opened.file)
    }
  }

  /** Verifies a segment of the tail. A tear is a notice, because the next open cuts it. */
  async verifyTail(id: number, tail: TailEnds): Promise<void> {
    const opened = this.#open(id)
    if (opened === undefined) {
      const hasGone = this.#verification.hasGone(id, this.#manifest)
      if (hasGone) tail.ends(id, Number.POSITIVE_INFINITY, false)
      return
    }
    const { path, file, size, predecessor } = opened
    try {
      if (!tail.goesOn(predecessor)) {
        this.#findings.add('torn', path, 0, `${size} bytes follow the end of the store`)
        return
      }
      const known = knownTailSize(this.#manifest, id)
      if (size < known) {
        const message = `The file has ${size} bytes; the manifest says ${known}`
        this.#findings.add('segment', path, size, message)
      }
      const begin = { from: FILE_HEADER_SIZE, preallocatedFrom: known }
      const end = await this.#scan(opened, size, new SegmentUsage(), undefined, begin)
      this.#noteRead(size)
      if (end.faultAt === undefined) {
        tail.ends(id, end.end, false)
        return
      }
      const next = findRecord(this.#scanOptions(file, end.faultAt, size), end.maxSequence)
      const isCut = isTorn(end.end, known, next)
      // A damaged segment counts as whole here, so that the damage in later ones is found too.
      tail.ends(id, isCut ? end.end : size, isCut)
      if (isCut) this.#findings.add('torn', path, end.end, `${size - end.end} bytes are unfinished`)
      else this.#findings.add('segment', path, end.faultAt, end.fault)
    } finally {
      this.#context.files.close(file)
    }
  }

  /** Whether a segment that the manifest does not list was appended, and has a header. */
  isTail(id: number): boolean {
    const opened = this.#openFile(id)
    if (opened === undefined) return false
    const { files } = this.#context
    const { file, path, size } = opened
    try {
      if (mayBeBlank(id, this.#manifest) && isBlank(files, file, size)) return false
      const header = unlessDamaged(() => readSegmentHeader(this.#context, file, path, id))
      return header === undefined || header === 'short' || header.origin === 'appended'
    } catch (error) {
      throw asReadFailure(error, path)
    } finally {
      files.close(file)
    }
  }

  /** Returns the size of a segment's file; 0 if it is damaged or missing. */
  sizeOf(id: number): number {
    const opened = unlessDamaged(() => openSegmentFile(this.#context, id))
    if (opened === undefined) return 0
    this.#context.files.close(opened.file)
    return opened.size
  }

  get #findings() {
    return this.#verification.findings
  }

  /** Opens a segment. A missing one is damage, unless a merge of the writer has taken it away. */
  #open(id: number): OpenedSegment | undefined {
    const opened = this.#openFile(id)
    if (opened === undefined) return undefined
    const { file, path, size } = opened
    const header = this.#findings.guard(() => readSegmentHeader(this.#context, file, path, id))
    if (header === undefined || header === 'short' || header.origin === 'none') {
      if (header === 'short') {
        this.#findings.add('segment', path, size, 'The file ends inside its header')
      }
      this.#context.files.close(file)
      return undefined
    }
    return { path, file, size, origin: header.origin, predecessor: header.predecessor }
  }

  #openFile(id: number) {
    return this.#findings.guard(
      () => openSegmentFile(this.#context, id),
      () => this.#verification.hasGone(id, this.#manifest),
    )
  }

  /** Scans up to `to`, past all damage. Returns whether there was none. */
  async #scanAll(
    opened: OpenedSegment,
    to: number,
    usage: SegmentUsage,
    hint: HintEncoder,
  ): Promise<boolean> {
    let from = FILE_HEADER_SIZE
    let isSound = true
    while (from < to) {
      const end = await this.#scan(opened, to, usage, hint, { from })
      if (end.faultAt === undefined) break
      isSound = false
      this.#findings.add('segment', opened.path, end.faultAt, end.fault)
      const next = findRecord(this.#scanOptions(opened.file, end.faultAt + 1, to), 0)
      if (next === undefined) break
      from = next
    }
    this.#noteRead(to)
    return isSound
  }

  /** Scans up to the first fault, and lets other work have its turn now and then. */
  async #scan(
    { file, origin }: OpenedSegment,
    to: number,
    usage: SegmentUsage,
    hint: HintEncoder | undefined,
    begin: { readonly from: number; readonly preallocatedFrom?: number },
  ): Promise<ScanEnd> {
    const verification = this.#verification
    const window = new Window(this.#context.files, file, to)
    let { from } = begin
    let lastSequence = 0
    for (;;) {
      const options = {
        ...this.#scanOptions(file, from, to),
        ascending: origin === 'appended',
        batches: origin === 'appended' ? 'whole' : 'loose',
        window,
        preallocatedFrom: begin.preallocatedFrom,
      } as const
      const end = scanSegment(options, (fields, page, offset) => {
        verification.recordCount++
        usage.add(fields.kind, fields.size, fields.sequence, fields.expiresAtMs)
        if (fields.kind !== BATCH_END) {
          hint?.add(page, fields.keyAt - keyOffset(fields.flags), fields, offset)
        }
        return offset - from < STEP_SIZE ? undefined : false
      })
      const isOver = end.end + end.preallocatedSize >= to || end.end === from
      if (end.faultAt !== undefined || isOver) return end
      if (origin === 'appended' && end.maxSequence <= lastSequence) {
        return { ...end, faultAt: from, fault: 'Sequences do not ascend' }
      }
      lastSequence = end.maxSequence
      from = end.end
      verification.reportProgress(from)
      await verification.giveWay()
    }
  }

  #scanOptions(file: FileDescriptor, from: number, to: number) {
    return {
      files: this.#context.files,
      file,
      from,
      to,
      seed: storeSeed(this.#context.storeId),
      values: false,
    } as const
  }

  /** Counts the bytes of a segment that was read to its end. */
  #noteRead(size: number): void {
    this.#verification.bytesRead += size
    this.#verification.reportProgress(0)
  }

  /** Compares the figures that were counted in a segment with those in the manifest. */
  #compare(counted: SealedSegment, listed: SealedSegment): void {
    for (const name of Object.keys(counted) as (keyof SealedSegment)[]) {
      if (counted[name] === listed[name]) continue
      const message = `The manifest says ${name} ${listed[name]}; it is ${counted[name]}`
      this.#findings.add('manifest', this.#verification.path(MANIFEST_NAME), 0, message)
    }
  }

  /** Compares a segment's hint with the one that its records make. */
  #verifyHint(sealed: SealedSegment, encoder: HintEncoder): void {
    const { files, storeId } = this.#context
    const path = this.#verification.path(hintName(sealed.id))
    const hint = this.#findings.guard(() => readHintFile(files, path, sealed.size))
    if (hint === undefined) {
      const isDue = this.#verification.options.isHintDue?.(sealed.id) ?? false
      if (!isDue) this.#findings.add('hint', path, 0, 'The hint is missing')
      return
    }
    const expected = encoder.finish(storeId, sealed.id, sealed.origin, sealed.size)
    const difference = firstDifference(hint, expected)
    if (difference !== undefined) {
      this.#findings.add('hint', path, difference, 'The hint does not match its segment')
    }
  }
}

function firstDifference(left: Uint8Array, right: Uint8Array): number | undefined {
  const size = Math.min(left.length, right.length)
  for (let at = 0; at < size; at++) if (left[at] !== right[at]) return at
  return left.length === right.length ? undefined : size
}
