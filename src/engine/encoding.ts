/** Turns keys and values into bytes, and back. */

import { isBytes } from '../format/bytes.ts'
import { MAX_KEY_SIZE, MAX_VALUE_SIZE, type Page } from '../format/record.ts'
import { allocateBuffer, allocateOwnBuffer } from '../io/memory.ts'
import { LITTLE_ENDIAN } from '../keydir/key-words.ts'
import type { ValueEncoding, ValueInput } from '../options.ts'

/** A key as the caller gives it. */
export type Key = string | Uint8Array

/** ASCII keys of up to this many characters are encoded here. */
const SHORT_KEY_LENGTH = 64
const WORD_SIZE = 4

/**
 * @internal The key that was encoded last: its bytes up to `size`. One object serves a whole
 * store.
 */
export class KeyBuffer {
  readonly bytes = allocateOwnBuffer(MAX_KEY_SIZE + 1)
  /** The same bytes as words, padded with zeros to the end of a word. */
  readonly words = new Uint32Array(this.bytes.buffer)
  size = 0

  /**
   * Encodes a key; a string as UTF-8.
   *
   * @throws TypeError, RangeError
   */
  encode(key: Key): void {
    if (typeof key === 'string') this.#encodeString(key)
    else if (isBytes(key)) this.#copy(key)
    else throw new TypeError(`A key must be a string or a Uint8Array, not ${describeType(key)}`)
  }

  #encodeString(key: string): void {
    const { length } = key
    if (length === 0 || length > MAX_KEY_SIZE) {
      throw keySizeError(length === 0 ? 0 : Buffer.byteLength(key))
    }
    if (LITTLE_ENDIAN && length <= SHORT_KEY_LENGTH && this.#encodeShort(key, length)) return
    if (!key.isWellFormed()) throw new TypeError('The key has a lone surrogate')
    const size = Buffer.byteLength(key)
    if (size > MAX_KEY_SIZE) throw keySizeError(size)
    this.#pad(this.bytes.write(key, 'utf8'))
  }

  /**
   * Encodes a short key, four characters at a time, which is faster than a call into the runtime
   * (measured, bench `micro-key`). Returns false if one of them is not ASCII.
   */
  #encodeShort(key: string, length: number): boolean {
    const { words } = this
    let seen = 0
    let at = 0
    for (; at + WORD_SIZE <= length; at += WORD_SIZE) {
      const a = key.charCodeAt(at)
      const b = key.charCodeAt(at + 1)
      const c = key.charCodeAt(at + 2)
      const d = key.charCodeAt(at + 3)
      seen |= a | b | c | d
      words[at >>> 2] = a | (b << 8) | (c << 16) | (d << 24)
    }
    let rest = 0
    for (let shift = 0; at < length; at++, shift += 8) {
      const code = key.charCodeAt(at)
      seen |= code
      rest |= code << shift
    }
    words[length >>> 2] = rest
    this.size = length
    return seen <= 0x7f
  }

  #copy(key: Uint8Array): void {
    const { length } = key
    if (length === 0 || length > MAX_KEY_SIZE) throw keySizeError(length)
    this.bytes.set(key)
    this.#pad(length)
  }

  #pad(size: number): void {
    const { bytes } = this
    for (let at = size; at % WORD_SIZE !== 0; at++) bytes[at] = 0
    this.size = size
  }
}

/**
 * Returns the keys of a list. @throws TypeError for a single key, or anything else, in the place of
 * a list
 */
export function checkKeys(keys: Iterable<Key>): Iterable<Key> {
  if (typeof keys === 'object' && keys !== null && !isBytes(keys)) {
    if (Symbol.iterator in keys) return keys
  }
  throw new TypeError(`Keys must be an iterable of keys, not ${describeType(keys)}`)
}

/** Returns a key's bytes in a buffer of their own. */
export function encodeKey(key: Key): Buffer {
  if (typeof key !== 'string') return Buffer.from(key)
  if (!key.isWellFormed()) throw new TypeError('The key has a lone surrogate')
  return Buffer.from(key)
}

/**
 * Returns what is stored for a value: text, or bytes, which may be the caller's.
 *
 * @throws TypeError if the encoding does not take the value
 */
export function encodeValue<V>(
  encoding: ValueEncoding<V>,
  value: ValueInput<V>,
): Uint8Array | string {
  switch (encoding) {
    case 'buffer':
      if (typeof value === 'string' || isBytes(value)) return value
      throw new TypeError(`A value must be a string or a Uint8Array, not ${describeType(value)}`)
    case 'utf8':
      if (typeof value === 'string') return value
      throw new TypeError(
        `With valueEncoding utf8 a value must be a string, not ${describeType(value)}`,
      )
    case 'json': {
      const text: string | undefined = JSON.stringify(value)
      if (text === undefined) throw new TypeError(`JSON cannot hold ${describeType(value)}`)
      return text
    }
    default: {
      // Safety: a codec of bytes may be given text. Whether it takes that is up to the codec.
      const encoded: unknown = encoding.encode(value as V)
      if (typeof encoded === 'string' || isBytes(encoded)) return encoded
      throw new TypeError(`valueEncoding.encode returned ${describeType(encoded)}`)
    }
  }
}

/**
 * Returns how many bytes an encoded value takes.
 *
 * @throws RangeError if it is too large
 * @throws TypeError for text that UTF-8 cannot hold
 */
export function valueSize(value: Uint8Array | string): number {
  const size = typeof value === 'string' ? textSize(value) : value.length
  if (size > MAX_VALUE_SIZE) {
    throw new RangeError(`Value is ${size} bytes; the limit is ${MAX_VALUE_SIZE}`)
  }
  return size
}

/**
 * Returns how many bytes text takes as UTF-8.
 *
 * @throws TypeError if it has a lone surrogate: another character would be stored in its place
 */
export function textSize(text: string): number {
  const size = Buffer.byteLength(text)
  // Text of as many bytes as characters is ASCII.
  if (size !== text.length && !text.isWellFormed()) {
    throw new TypeError('The value has a lone surrogate')
  }
  return size
}

/** @internal Bytes that were read; they lie in a page until the next read. */
export interface ReadBytes {
  readonly page: Page
  readonly valueEnd: number
  /** Returns the bytes from `start` up to `valueEnd`, in memory of their own. */
  cut(start: number): Buffer
}

/** @internal Decodes the value that begins at `start` of what was read, and ends at `valueEnd`. */
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

/** Copies bytes into memory of their own. */
export function ownBytes(bytes: Buffer, start: number, end: number): Buffer {
  const copy = allocateBuffer(end - start)
  bytes.copy(copy, 0, start, end)
  return copy
}

function keySizeError(size: number): RangeError {
  return size === 0
    ? new RangeError('Key is empty; the least is 1 byte')
    : new RangeError(`Key is ${size} bytes; the limit is ${MAX_KEY_SIZE}`)
}

function describeType(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  return `${/^[aeiou]/.test(typeof value) ? 'an' : 'a'} ${typeof value}`
}
