import { type Entry, type Keydir, type KeyRange, NO_ENTRY } from '../../src/keydir/keydir.ts'

/** The fields of an entry besides its key. */
export interface Fields {
  readonly segment: number
  readonly offset: number
  readonly size: number
  readonly sequence: number
  readonly expiresAtMs: number
}

/** A range of all keys; tests narrow it by a spread. */
export const ALL: KeyRange = {
  lower: undefined,
  lowerInclusive: true,
  upper: undefined,
  upperInclusive: true,
  reverse: false,
}

/** Random numbers that are the same for the same seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** Returns an integer from 0 to `limit`, exclusive. */
  below(limit: number): number {
    // A step of the "mulberry32" generator.
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let x = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  bytes(size: number, limit = 256): Uint8Array {
    return Uint8Array.from({ length: size }, () => this.below(limit))
  }

  fields(): Fields {
    return {
      segment: 1 + this.below(2 ** 31 - 1),
      offset: this.below(2 ** 32),
      size: this.below(4) === 0 ? 0 : this.below(this.below(4) === 0 ? 2 ** 32 : 2 ** 16),
      sequence: this.below(this.below(4) === 0 ? 2 ** 48 : 2 ** 40),
      expiresAtMs: this.below(2) === 0 ? 0 : 1 + this.below(2 ** 45),
    }
  }
}

/** Returns the same bytes as a string with one character for each, which sorts as they do. */
export function text(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}

export function bytes(key: string): Uint8Array {
  return Uint8Array.from(Buffer.from(key, 'latin1'))
}

export function insert(keydir: Keydir, key: Uint8Array, fields: Partial<Fields> = {}): Entry {
  const { segment = 1, offset = 0, size = 1, sequence = 1, expiresAtMs = 0 } = fields
  return keydir.insert(key, key.length, segment, offset, size, sequence, expiresAtMs)
}

export function update(keydir: Keydir, entry: Entry, fields: Fields): Entry {
  const { segment, offset, size, sequence, expiresAtMs } = fields
  return keydir.update(entry, segment, offset, size, sequence, expiresAtMs)
}

export function find(keydir: Keydir, key: Uint8Array): Entry {
  return keydir.find(key, key.length)
}

export function fieldsOf(keydir: Keydir, entry: Entry): Fields {
  const { entries } = keydir
  return {
    segment: entries.segmentOf(entry),
    offset: entries.offsetOf(entry),
    size: entries.sizeOf(entry),
    sequence: entries.sequenceOf(entry),
    expiresAtMs: entries.expiresAtOf(entry),
  }
}

/** Returns the keys that a cursor yields, to its end. */
export function keysOf(keydir: Keydir, range: Partial<KeyRange> = {}): string[] {
  const keys: string[] = []
  keydir.entries.pin()
  const cursor = keydir.cursor({ ...ALL, ...range })
  for (let entry = cursor.next(); entry !== NO_ENTRY; entry = cursor.next()) {
    keys.push(text(keydir.entries.keyView(entry)))
  }
  keydir.entries.unpin()
  return keys
}

/** Returns the keys of `sorted` that lie in a range, in its direction. */
export function within(sorted: readonly string[], range: Partial<KeyRange>): string[] {
  const { lower, lowerInclusive, upper, upperInclusive, reverse } = { ...ALL, ...range }
  const low = lower && text(lower)
  const high = upper && text(upper)
  const keys = sorted.filter(
    (key) =>
      (low === undefined || (lowerInclusive ? key >= low : key > low)) &&
      (high === undefined || (upperInclusive ? key <= high : key < high)),
  )
  return reverse ? keys.reverse() : keys
}

/** An endless sequence of distinct random 16-byte keys, each written to `key`. */
export class KeySequence {
  readonly key = new Uint8Array(16)
  readonly #words = new Uint32Array(this.key.buffer)

  /** Writes key number `index`. The mixing of each word is bijective, so no two keys are equal. */
  set(index: number): Uint8Array {
    let x = index | 0
    for (let i = 0; i < 4; i++) {
      x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
      x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
      x = ((x ^ (x >>> 16)) + 0x9e3779b9) | 0
      this.#words[i] = x
    }
    return this.key
  }
}
