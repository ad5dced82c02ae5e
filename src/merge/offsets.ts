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

  /** A copy, ascending, each offset once. */
  sorted(): Uint32Array {
    const sorted = this.#offsets.slice(0, this.#count).sort()
    let kept = 0
    for (let index = 0; index < sorted.length; index++) {
      const offset = sorted[index] ?? 0
      if (kept === 0 || sorted[kept - 1] !== offset) sorted[kept++] = offset
    }
    return sorted.subarray(0, kept)
  }
}
