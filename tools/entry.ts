/**
 * An entry as JSON: one object, `{ "key", "value", "expiresAt" }`. Bytes that are UTF-8 are
 * strings, others are `{ "base64": ... }`. `expiresAt`, in milliseconds since 1970, is missing if
 * the entry never expires.
 */

import { constants, isUtf8 } from 'node:buffer'

/** A key and its value. */
export interface Entry {
  readonly key: Buffer
  readonly value: Buffer
  /** In milliseconds since 1970; `Infinity` for never. */
  readonly expiresAt: number
}

/** A format in which entries are written to files and read from them. */
export interface EntryFormat {
  /** The text before the first entry. */
  readonly head: string
  /** Returns entries as text. @throws Error if the format cannot hold one */
  encode(entries: readonly Entry[]): string
  /** Returns encoded text without characters that would act on a terminal. */
  show(text: string): string
  /** Reads entries. @throws Error with the place of text that is not an entry */
  decode(source: AsyncIterable<Uint8Array>): AsyncIterable<Entry>
}

/** Bytes in JSON. */
export type JsonBytes = string | { readonly base64: string }

/** An entry in JSON. */
export interface JsonEntry {
  readonly key: JsonBytes
  readonly value: JsonBytes
  readonly expiresAt?: number
}

/** The most characters of an entry as text: as many as a string may have. */
export const MAX_ENTRY_SIZE = constants.MAX_STRING_LENGTH

/** The largest value in JSON: a larger one does not fit into a string. */
const MAX_JSON_BYTES = 256 * 1024 * 1024

/** Returns bytes for JSON. */
export function toJsonBytes(bytes: Buffer): JsonBytes {
  return isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') }
}

/** Returns the bytes for a value of JSON. @throws Error if it is neither text nor base64 */
export function fromJsonBytes(json: unknown, name: string): Buffer {
  if (typeof json === 'string') {
    // Two strings that differ would become the same bytes.
    if (!json.isWellFormed()) throw new Error(`${name} has a lone surrogate`)
    return Buffer.from(json)
  }
  if (typeof json === 'object' && json !== null && 'base64' in json) {
    const bytes = typeof json.base64 === 'string' ? decodeBase64(json.base64) : undefined
    if (bytes !== undefined) return bytes
  }
  throw new Error(`${name} is neither a string nor an object with base64`)
}

/** Returns the bytes of base64; `undefined` if the text is not base64. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** Returns an entry for JSON. @throws Error if the value is too large */
export function toJson({ key, value, expiresAt }: Entry): JsonEntry {
  if (value.length > MAX_JSON_BYTES) {
    throw new Error(
      `A value is ${value.length} bytes; the limit of JSON and CSV is ${MAX_JSON_BYTES}, use backup`,
    )
  }
  const entry = { key: toJsonBytes(key), value: toJsonBytes(value) }
  return expiresAt === Number.POSITIVE_INFINITY ? entry : { ...entry, expiresAt }
}

/** Returns the entry for a value of JSON. @throws Error if it is not an entry */
export function fromJson(json: unknown): Entry {
  if (typeof json !== 'object' || json === null) throw new Error('It is not an object')
  const { key, value, expiresAt } = json as Partial<Record<string, unknown>>
  if (expiresAt !== undefined && typeof expiresAt !== 'number') {
    throw new Error('expiresAt is not a number')
  }
  return {
    key: fromJsonBytes(key, 'key'),
    value: fromJsonBytes(value, 'value'),
    expiresAt: expiresAt ?? Number.POSITIVE_INFINITY,
  }
}
