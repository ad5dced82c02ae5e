/**
 * An entry as JSON: one object, `{ "key", "value", "expiresAt" }`. Text is a string where the bytes are UTF-8, and
 * `{ "base64": ... }` where they are not; `expiresAt`, milliseconds since 1970, is missing where it never expires.
 */

import { constants, isUtf8 } from 'node:buffer'

/** A key with its value. */
export interface Entry {
  readonly key: Buffer
  readonly value: Buffer
  /** In milliseconds since 1970; `Infinity` is never. */
  readonly expiresAt: number
}

/** How entries are written to files, and read from them. */
export interface EntryFormat {
  /** What stands before the first entry. */
  readonly head: string
  /** Entries as text. @throws Error where the format cannot hold one */
  encode(entries: readonly Entry[]): string
  /** What was encoded, without what would act on a terminal. */
  show(text: string): string
  /** Reads entries. @throws Error with the place of what is none */
  decode(source: AsyncIterable<Uint8Array>): AsyncIterable<Entry>
}

/** Bytes as JSON holds them. */
export type JsonBytes = string | { readonly base64: string }

/** An entry as JSON holds it. */
export interface JsonEntry {
  readonly key: JsonBytes
  readonly value: JsonBytes
  readonly expiresAt?: number
}

/** What an entry may take as text: the most that a string may hold. */
export const MAX_ENTRY_SIZE = constants.MAX_STRING_LENGTH

/** What an entry may take in JSON; what is larger does not fit into a string. */
const MAX_JSON_BYTES = 256 * 1024 * 1024

export function toJsonBytes(bytes: Buffer): JsonBytes {
  return isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') }
}

/** @throws Error where it is neither text nor base64 */
export function fromJsonBytes(json: unknown, name: string): Buffer {
  if (typeof json === 'string') {
    // Two that differ would become the same.
    if (!json.isWellFormed()) throw new Error(`${name} has a lone surrogate`)
    return Buffer.from(json)
  }
  if (typeof json === 'object' && json !== null && 'base64' in json) {
    const bytes = typeof json.base64 === 'string' ? decodeBase64(json.base64) : undefined
    if (bytes !== undefined) return bytes
  }
  throw new Error(`${name} is neither a string nor an object with base64`)
}

/** The bytes of base64; `undefined` where it is not that. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** @throws Error where the value is too large for JSON */
export function toJson({ key, value, expiresAt }: Entry): JsonEntry {
  if (value.length > MAX_JSON_BYTES) {
    throw new Error(
      `A value is ${value.length} bytes; the limit of JSON and CSV is ${MAX_JSON_BYTES}, use backup`,
    )
  }
  const entry = { key: toJsonBytes(key), value: toJsonBytes(value) }
  return expiresAt === Number.POSITIVE_INFINITY ? entry : { ...entry, expiresAt }
}

/** @throws Error where it is no entry */
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
