import { MAX_KEY_SIZE, MAX_VALUE_SIZE, type Page } from './format/record.ts'
import type { ValueEncoding, ValueInput } from './options.ts'

/** A key as the caller gives it. */
export type Key = string | Uint8Array

/** The key that was encoded last: its bytes up to `size`. One object serves a whole store. */
export class KeyBuffer {
  readonly bytes = Buffer.allocUnsafeSlow(MAX_KEY_SIZE + 1)
  size = 0

  /**
   * Encodes a key; a string as UTF-8.
   *
   * @throws TypeError, RangeError
   */
  encode(key: Key): void {
    if (typeof key === 'string') this.#encodeString(key)
    else if (key instanceof Uint8Array) this.#copy(key)
    else throw new TypeError(`A key is a string or a Uint8Array, not ${describeType(key)}`)
  }

  #encodeString(key: string): void {
    const { length } = key
    const { bytes } = this
    if (length === 0 || length > MAX_KEY_SIZE) {
      throw keySizeError(length === 0 ? 0 : Buffer.byteLength(key))
    }
    // Short ASCII keys are copied here faster than by a call into the runtime (measured, bench `micro-key`).
    if (length <= 64) {
      let index = 0
      for (; index < length; index++) {
        const code = key.charCodeAt(index)
        if (code > 0x7f) break
        bytes[index] = code
      }
      if (index === length) {
        this.size = length
        return
      }
    }
    if (!key.isWellFormed()) throw new TypeError('The key has a lone surrogate')
    const size = Buffer.byteLength(key)
    if (size > MAX_KEY_SIZE) throw keySizeError(size)
    this.size = bytes.write(key, 'utf8')
  }

  #copy(key: Uint8Array): void {
    const { length } = key
    if (length === 0 || length > MAX_KEY_SIZE) throw keySizeError(length)
    this.bytes.set(key)
    this.size = length
  }
}

/** The keys of a list. @throws TypeError where a single key, or something else, stands in its place */
export function checkKeys(keys: Iterable<Key>): Iterable<Key> {
  if (typeof keys === 'object' && keys !== null && !(keys instanceof Uint8Array)) {
    if (Symbol.iterator in keys) return keys
  }
  throw new TypeError(`Keys are given as a list, not as ${describeType(keys)}`)
}

/** A key's bytes in a buffer of their own. */
export function encodeKey(key: Key): Buffer {
  if (typeof key !== 'string') return Buffer.from(key)
  if (!key.isWellFormed()) throw new TypeError('The key has a lone surrogate')
  return Buffer.from(key)
}

/**
 * What is stored for a value: bytes of the caller's, or text.
 *
 * @throws TypeError where the encoding does not take the value
 */
export function encodeValue<V>(
  encoding: ValueEncoding<V>,
  value: ValueInput<V>,
): Uint8Array | string {
  switch (encoding) {
    case 'buffer':
      if (typeof value === 'string' || value instanceof Uint8Array) return value
      throw new TypeError(`A value is a string or a Uint8Array, not ${describeType(value)}`)
    case 'utf8':
      if (typeof value === 'string') return value
      throw new TypeError(`With valueEncoding utf8 a value is a string, not ${describeType(value)}`)
    case 'json': {
      const text: string | undefined = JSON.stringify(value)
      if (text === undefined) throw new TypeError(`JSON cannot hold ${describeType(value)}`)
      return text
    }
    default: {
      // Safety: a codec of bytes may be given text; whether it takes it is the codec's.
      const encoded: unknown = encoding.encode(value as V)
      if (typeof encoded === 'string' || encoded instanceof Uint8Array) return encoded
      throw new TypeError(`valueEncoding.encode answered ${describeType(encoded)}`)
    }
  }
}

/** How many bytes an encoded value takes. @throws RangeError */
export function valueSize(value: Uint8Array | string): number {
  const size = typeof value === 'string' ? Buffer.byteLength(value) : value.length
  if (size > MAX_VALUE_SIZE) {
    throw new RangeError(`Value is ${size} bytes; the limit is ${MAX_VALUE_SIZE}`)
  }
  return size
}

/** Bytes that were read; they lie in a page until the next read. */
export interface ReadBytes {
  readonly page: Page
  readonly valueEnd: number
  /** The bytes from `start` up to `valueEnd`, in memory of their own. */
  cut(start: number): Buffer
}

/** Decodes the value that begins at `start` of what was read, and ends with it. */
export function decodeValue<V>(encoding: ValueEncoding<V>, read: ReadBytes, start: number): V {
  switch (encoding) {
    // Safety: the options tie each name to the type of V.
    case 'buffer':
      return read.cut(start) as V
    case 'utf8':
      return read.page.bytes.toString('utf8', start, read.valueEnd) as V
    case 'json':
      return JSON.parse(read.page.bytes.toString('utf8', start, read.valueEnd)) as V
    default:
      return encoding.decode(read.cut(start))
  }
}

/** A copy in memory of its own. */
export function ownBytes(bytes: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start)
  bytes.copy(copy, 0, start, end)
  return copy
}

function keySizeError(size: number): RangeError {
  return size === 0
    ? new RangeError('Key is empty; the least is 1 byte')
    : new RangeError(`Key is ${size} bytes; the limit is ${MAX_KEY_SIZE}`)
}

function describeType(value: unknown): string {
  return value === null ? 'null' : typeof value
}
