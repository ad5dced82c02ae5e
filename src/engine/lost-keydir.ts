import { StoreError } from '../errors.ts'
import type { KeydirKind } from '../format/keydir-kind.ts'
import type { Entries } from '../keydir/entries.ts'
import type { Entry, Keydir, KeydirCursor, KeydirImage, KeyRange } from '../keydir/keydir.ts'

/** Thrown where a keydir is touched that there is none of: it has to be loaded anew. */
export class KeydirLost extends StoreError {}

/**
 * Stands in the place of a keydir that is not known to be right and could not be loaded anew, so that nobody sees half
 * of a change in it.
 */
export class LostKeydir implements Keydir {
  readonly kind: KeydirKind
  readonly ordered = true
  /** How many entries there were when it was lost. */
  readonly size: number
  readonly #cause: unknown

  /** @param cause why it could not be loaded anew */
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
    // It has none.
  }

  #lost(): KeydirLost {
    return new KeydirLost('FIRKIN_POISONED', 'The keydir is lost; open the store again', {
      cause: this.#cause,
    })
  }
}
