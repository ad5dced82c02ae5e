/** The progress of a salvage. */

import { nextTurn } from '../scheduling/time.ts'

/** The progress of a salvage, in bytes of segments. */
export interface SalvageProgress {
  readonly bytesRead: number
  readonly bytesTotal: number
}

/** Counts and reports the progress of a salvage. */
export class Progress {
  readonly #onProgress: ((progress: SalvageProgress) => void) | undefined
  #bytesRead = 0
  #bytesTotal = 0

  constructor(onProgress: ((progress: SalvageProgress) => void) | undefined) {
    this.#onProgress = onProgress
  }

  /** Adds bytes that are to be read. */
  expect(bytes: number): void {
    this.#bytesTotal += bytes
  }

  /** Reports that bytes have been read, and lets other work have its turn. */
  async advance(bytes: number): Promise<void> {
    this.#bytesRead += bytes
    this.#onProgress?.({ bytesRead: this.#bytesRead, bytesTotal: this.#bytesTotal })
    await nextTurn()
  }
}
