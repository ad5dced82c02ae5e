/** The findings of a verification. */

import { basename } from 'node:path'
import { CorruptionError } from '../errors.ts'
import { parseName } from '../format/names.ts'

/** The part of a store that a finding is about. */
export type FindingKind =
  /** Bytes of the manifest, or a statement in it. */
  | 'manifest'
  /** Bytes of a segment. */
  | 'segment'
  /** The end of the tail, which a crash left unfinished. */
  | 'torn'
  /** A hint that is missing or unusable. */
  | 'hint'
  /** A checkpoint that is unusable. */
  | 'checkpoint'
  /** A file that no longer belongs to the store. */
  | 'leftover'

/** Something in a store that is not as it should be. */
export interface Finding {
  readonly severity: /** Bytes are wrong: data is lost, or would be. */
    | 'damage'
    /** A shortcut is unusable or a file is left over: nothing is lost, the next open repairs it. */
    | 'notice'
  readonly kind: FindingKind
  /** The path of the file. */
  readonly file: string
  /** The offset in the file, in bytes. */
  readonly offset: number
  readonly message: string
}

/** The kinds of findings that cost no data. */
const NOTICES: readonly FindingKind[] = ['torn', 'hint', 'checkpoint', 'leftover']

/** Collects findings. */
export class Findings {
  readonly list: Finding[] = []

  /** Whether any finding is damage. */
  get hasDamage(): boolean {
    return this.list.some(({ severity }) => severity === 'damage')
  }

  add(kind: FindingKind, file: string, offset: number, message: string): void {
    const severity = NOTICES.includes(kind) ? 'notice' : 'damage'
    this.list.push({ severity, kind, file, offset, message })
  }

  /**
   * Returns what `read` returns. If it throws damage, that is added unless it is excused, and
   * `undefined` is returned.
   */
  guard<T>(read: () => T, isExcused = (): boolean => false): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      if (isExcused()) return undefined
      const { file, offset } = error
      const place = ` (${file}, offset ${offset})`
      this.add(kindOf(file), file, offset, error.message.replace(place, ''))
      return undefined
    }
  }
}

/** Returns what `read` returns, or `undefined` if it throws damage that is reported later. */
export function unlessDamaged<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    return undefined
  }
}

function kindOf(file: string): FindingKind {
  const { type } = parseName(basename(file))
  return type === 'manifest' || type === 'hint' || type === 'checkpoint' ? type : 'segment'
}
