/** Lists of the offsets of live records, which a merge collects and sends to its thread. */

/** Offsets in one segment; they take 4 bytes each, off the JavaScript heap. */
export class Offsets {
  #offsets = new Uint32Array(1024)
  #count = 0

  add(offset: number): void {
    if (this.#count === this.#offsets.length) {
      const grown = new Uint32Array(this.#count * 2)
      grown.set(this.#offsets)
      this.#offsets = grown
    }
    this.#offsets[this.#count++] = offset
  }

  /** A copy of the offsets in the order in which they were added, some perhaps more than once. */
  get list(): Uint32Array {
    return this.#offsets.slice(0, this.#count)
  }
}

/** Sorts offsets in place; returns them ascending, each once. */
export function sortOffsets(offsets: Uint32Array): Uint32Array {
  offsets.sort()
  let kept = 0
  for (let index = 0; index < offsets.length; index++) {
    const offset = offsets[index] ?? 0
    if (kept === 0 || offsets[kept - 1] !== offset) offsets[kept++] = offset
  }
  return offsets.subarray(0, kept)
}
