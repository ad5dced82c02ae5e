/**
 * Keys and values, as Level hands them over and as the store holds them.
 *
 * Level allows the empty key, the store does not. So a key that is empty or begins with a zero byte
 * is stored with one more zero byte in front, and every other key as it is. Keys stay distinct, and
 * keep their order.
 */

import { MAX_KEY_SIZE, MAX_VALUE_SIZE } from '../../format/record.ts'
import { LevelError } from './errors.ts'

/**
 * A key or value as Level hands it over: text if the format of its encoding is `utf8`, bytes if it
 * is `buffer`.
 */
export type Format = string | Buffer | Uint8Array

const ZERO = Buffer.alloc(1)
/** The most bytes that one UTF-16 unit takes as UTF-8. */
const MAX_CHARACTER_SIZE = 3

/**
 * Returns a bound of a range as the store compares it. A bound may be of any size; lone surrogates
 * are replaced, as Level's UTF-8 encoding replaces them.
 */
export function storedBound(bound: Format): Format {
  return withoutEmpty(typeof bound === 'string' ? bound.toWellFormed() : bound)
}

/** Returns a key as it is stored, or `undefined` if the store cannot hold it. */
export function storedKey(key: Format): Format | undefined {
  const stored = withoutEmpty(key)
  return sizeIn(stored, MAX_KEY_SIZE) <= MAX_KEY_SIZE && isWellFormed(stored) ? stored : undefined
}

/**
 * Returns a key as it is stored.
 *
 * @throws {@link LevelError} LEVEL_INVALID_KEY if the store cannot hold it
 */
export function storableKey(key: Format): Format {
  const stored = storedKey(key)
  if (stored !== undefined) return stored
  const size = sizeIn(withoutEmpty(key), 0)
  throw new LevelError(
    'LEVEL_INVALID_KEY',
    size > MAX_KEY_SIZE
      ? `Key is ${size} bytes; the limit is ${MAX_KEY_SIZE}`
      : 'The key has a lone surrogate',
  )
}

/**
 * Checks that the store can hold a value unchanged.
 *
 * @throws {@link LevelError} LEVEL_INVALID_VALUE
 */
export function assertStorable(value: Format): void {
  const size = sizeIn(value, MAX_VALUE_SIZE)
  if (size > MAX_VALUE_SIZE) {
    const message = `Value is ${size} bytes; the limit is ${MAX_VALUE_SIZE}`
    throw new LevelError('LEVEL_INVALID_VALUE', message)
  }
  if (!isWellFormed(value)) {
    throw new LevelError('LEVEL_INVALID_VALUE', 'The value has a lone surrogate')
  }
}

/** Returns the key, with one more zero byte in front if it is empty or begins with one. */
function withoutEmpty(key: Format): Format {
  if (typeof key === 'string') return key === '' || key.charCodeAt(0) === 0 ? `\0${key}` : key
  return key.length === 0 || key[0] === 0 ? Buffer.concat([ZERO, key]) : key
}

/**
 * Returns a size in bytes. For text that certainly fits into `limit` it returns the length instead,
 * which fits too and takes no counting.
 */
function sizeIn(value: Format, limit: number): number {
  if (typeof value !== 'string' || value.length * MAX_CHARACTER_SIZE <= limit) return value.length
  return Buffer.byteLength(value)
}

function isWellFormed(value: Format): boolean {
  return typeof value !== 'string' || value.isWellFormed()
}

/** Returns the key that Level knows a stored key by. */
export function levelKey(key: Buffer): Buffer {
  return key[0] === 0 ? key.subarray(1) : key
}

/** Returns bytes of the store in the format of an encoding. */
export function format(value: Buffer, encoding: string): Format
export function format(value: Buffer | undefined, encoding: string): Format | undefined
export function format(value: Buffer | undefined, encoding: string): Format | undefined {
  return encoding === 'utf8' ? value?.toString() : value
}
