/** The stand-in for a keydir that was lost. */

import { StoreError } from '../errors.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import type { Entries } from '../keydir/entries.ts'
import type { Entry, Keydir, KeydirCursor, KeydirImage, KeyRange } from '../keydir/keydir.ts'

/** Thrown when a lost keydir is used: it has to be loaded again. */
export class KeydirLost extends StoreError {}

/**
 * Stands in the place of a keydir that may be wrong and could not be loaded again, so that nobody
 * sees half of a change in it.
 */
export class LostKeydir implements Keydir {
  readonly kind: KeydirKind
  readonly ordered = true
  /** The number of entries when it was lost. */
  readonly size: number
  readonly #cause: unknown

  /** @param cause why it could not be loaded again */
  constructor({ kind, size }: Keydir, cause: unknown) {
    this.kind = kind
    this.size = size
    this.#cause = cause
  }

  get entries(): Entries {
    throw this.#lost()
  }

  get byteSize(): number {
    return 0
  }

  find(): Entry {
    throw this.#lost()
  }

  insert(): Entry {
    throw this.#lost()
  }

  update(): Entry {
    throw this.#lost()
  }

  remove(): void {
    throw this.#lost()
  }

  cursor(_range: KeyRange): KeydirCursor {
    throw this.#lost()
  }

  image(): KeydirImage {
    throw this.#lost()
  }

  release(): void {
    // It has no memory.
  }

  #lost(): KeydirLost {
    return new KeydirLost('FIRKIN_POISONED', 'The keydir is lost; open the store again', {
      cause: this.#cause,
    })
  }
}
