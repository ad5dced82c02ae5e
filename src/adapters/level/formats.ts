/**
 * Keys and values, as Level hands them over and as the store holds them.
 *
 * Level allows the empty key, Firkin does not. So a key that is empty, or begins with a zero byte, is stored with
 * one zero byte before it; all others are stored as they are. That keeps keys apart, and keeps their order.
 */

import { MAX_KEY_SIZE, MAX_VALUE_SIZE } from '../../format/record.ts'
import { LevelError } from './errors.ts'

/** What Level hands over: text where an encoding's format is `utf8`, bytes where it is `buffer`. */
export type Format = string | Buffer | Uint8Array

const ZERO = Buffer.alloc(1)
/** A character takes at most so many bytes as UTF-8. */
const MAX_CHARACTER_SIZE = 3

/** A bound of a range, as the store has it: of any size, and with lone surrogates replaced, as Level's UTF-8 has it. */
export function storedBound(bound: Format): Format {
  return withoutEmpty(typeof bound === 'string' ? bound.toWellFormed() : bound)
}

/** A key as the store has it; `undefined` where the store holds no such key, for it could not. */
export function storedKey(key: Format): Format | undefined {
  const stored = withoutEmpty(key)
  return sizeIn(stored, MAX_KEY_SIZE) <= MAX_KEY_SIZE && isWellFormed(stored) ? stored : undefined
}

/** A key as the store has it. @throws {@link LevelError} LEVEL_INVALID_KEY where the store cannot hold it */
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

/** @throws {@link LevelError} LEVEL_INVALID_VALUE where the store cannot hold the value as it is */
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

/** The empty key, and keys that begin with a zero byte, with one more. */
function withoutEmpty(key: Format): Format {
  if (typeof key === 'string') return key === '' || key.charCodeAt(0) === 0 ? `\0${key}` : key
  return key.length === 0 || key[0] === 0 ? Buffer.concat([ZERO, key]) : key
}

/** A size in bytes; where it is certainly within `limit`, only something that is too. */
function sizeIn(value: Format, limit: number): number {
  if (typeof value !== 'string' || value.length * MAX_CHARACTER_SIZE <= limit) return value.length
  return Buffer.byteLength(value)
}

function isWellFormed(value: Format): boolean {
  return typeof value !== 'string' || value.isWellFormed()
}

export function levelKey(key: Buffer): Buffer {
  return key[0] === 0 ? key.subarray(1) : key
}

export function format(value: Buffer, encoding: string): Format
export function format(value: Buffer | undefined, encoding: string): Format | undefined
export function format(value: Buffer | undefined, encoding: string): Format | undefined {
  return encoding === 'utf8' ? value?.toString() : value
}
