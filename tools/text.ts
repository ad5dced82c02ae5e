/** Converts bytes, sizes, times and numbers from and to text for people. */

import { isUtf8 } from 'node:buffer'
import { UsageError } from './failure.ts'

/** Characters that are invisible, or would act on the terminal. */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu
/** The character in text that replaces bytes that are not text. */
const REPLACEMENT = '\ufffd'
/** The {@link UNSHOWN} characters, the replacement, and the characters that escapes are made of. */
const AMBIGUOUS = new RegExp(`${UNSHOWN.source}|[\\\\"${REPLACEMENT}]`, 'gu')
const NAMED: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\\': '\\\\',
  '"': '\\"',
}
/** An escape: a name, a byte or a code point after a backslash, or an unknown one. */
const ESCAPE = /\\(?:(?<named>[nrt\\"])|x(?<byte>[0-9a-f]{2})|u\{(?<point>[0-9a-f]{1,6})\}|.|$)/giu
const MAX_CODE_POINT = 0x10ffff
/** The number of bytes that are converted at once. */
const PIECE_SIZE = 64 * 1024
/** The size of the longest character in UTF-8. */
const MAX_CHARACTER_SIZE = 4

/** Returns bytes as text that shows each of them: UTF-8 as it is, others as `\x` and two digits. */
export function escapeBytes(bytes: Buffer): string {
  return isUtf8(bytes) ? escapeText(bytes.toString('utf8')) : escapeMixed(bytes)
}

/** Returns the bytes for text of {@link escapeBytes}. @throws UsageError for an unknown escape */
export function unescapeBytes(text: string): Buffer {
  const parts: Buffer[] = []
  let at = 0
  for (const { 0: written, index, groups = {} } of text.matchAll(ESCAPE)) {
    parts.push(encodeText(text.slice(at, index), 'line'), unescapeOne(written, groups))
    at = index + written.length
  }
  return Buffer.concat([...parts, encodeText(text.slice(at), 'line')])
}

/** Like {@link escapeBytes}, in pieces, for values that are too large for one string. */
export function* escapePieces(bytes: Buffer): Generator<string> {
  for (let from = 0; from < bytes.length; ) {
    const to = characterEnd(bytes, from + PIECE_SIZE)
    yield escapeBytes(bytes.subarray(from, to))
    from = to
  }
}

/** Yields bytes as hexadecimal digits, in pieces. */
export function* hexPieces(bytes: Buffer): Generator<string> {
  for (let from = 0; from < bytes.length; from += PIECE_SIZE) {
    yield bytes.toString('hex', from, Math.min(from + PIECE_SIZE, bytes.length))
  }
}

/**
 * Returns the bytes of text.
 *
 * @throws UsageError if it was made from bytes that are not text, and stands for other bytes
 */
export function encodeText(text: string, name: 'key' | 'value' | 'line'): Buffer {
  if (text.isWellFormed() && !text.includes(REPLACEMENT)) return Buffer.from(text)
  const way = name === 'line' ? 'a byte is written "\\xff"' : '--hex takes any bytes'
  throw new UsageError(`The ${name} is not UTF-8; ${way}`)
}

/** Escapes the characters of a message, path or name that would act on the terminal. */
export function showText(text: string): string {
  return text.replace(UNSHOWN, escapeCharacter)
}

/** Escapes the characters of JSON that would act on the terminal, except line feeds. */
export function showJson(json: string): string {
  return json.replace(UNSHOWN, (character) => {
    if (character === '\n') return character
    const units = character.split('').map((unit) => unit.charCodeAt(0).toString(16))
    return units.map((unit) => `\\u${unit.padStart(4, '0')}`).join('')
  })
}

/** Formats a size: `1.5 MiB`, or the exact number of bytes. */
export function formatSize(bytes: number, exact: boolean): string {
  if (exact) return String(bytes)
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let size = bytes
  let unit = 0
  while (Math.abs(size) >= 1024 && unit < units.length - 1) {
    size /= 1024
    unit++
  }
  const digits = unit === 0 || Math.abs(size) >= 100 ? 0 : 1
  return `${size.toFixed(digits)} ${units[unit]}`
}

/** Formats a number with separators between thousands. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-GB')
}

/** Formats a count with the noun that is counted. */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`
}

/** Formats a duration. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1) return `${Math.round(milliseconds * 1000)} us`
  if (milliseconds < 1000) return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`
  const seconds = milliseconds / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Formats a time in UTC; `-` if there is none. */
export function formatMoment(momentMs: number): string {
  if (momentMs === 0 || momentMs === Number.POSITIVE_INFINITY) return '-'
  const date = new Date(momentMs)
  // A time outside the calendar is shown as a number.
  return Number.isNaN(date.getTime()) ? String(momentMs) : date.toISOString()
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** Returns the milliseconds of `250ms`, `10s`, `5m`, `2h`, `7d`. @throws UsageError */
export function parseDuration(text: string): number {
  const [, count, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? []
  const milliseconds = Number(count) * (DURATION_UNITS[unit ?? ''] ?? Number.NaN)
  if (!(milliseconds >= 1)) {
    throw new UsageError(`${text} is not a duration; write it as 250ms, 10s, 5m, 2h or 7d`)
  }
  return milliseconds
}

/** Returns a whole number of at least `low`. @throws UsageError */
export function parseCount(text: string, low = 0): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(count) || count < low) {
    throw new UsageError(`${text} is not a whole number of at least ${low}`)
  }
  return count
}

/** Returns the bytes of pairs of hexadecimal digits. @throws UsageError */
export function parseHex(text: string): Buffer {
  if (!/^([0-9a-f]{2})*$/i.test(text)) {
    throw new UsageError(`${text} does not consist of pairs of hexadecimal digits`)
  }
  return Buffer.from(text, 'hex')
}

function unescapeOne(
  written: string,
  { named, byte, point }: Readonly<Record<string, string | undefined>>,
): Buffer {
  const plain = Object.keys(NAMED).find((character) => NAMED[character] === `\\${named}`)
  if (plain !== undefined) return Buffer.from(plain)
  if (byte !== undefined) return Buffer.from(byte, 'hex')
  const code = point === undefined ? Number.NaN : Number.parseInt(point, 16)
  if (code <= MAX_CODE_POINT) {
    const character = String.fromCodePoint(code)
    if (character.isWellFormed()) return Buffer.from(character)
  }
  throw new UsageError(`${written} stands for nothing; a backslash itself is written \\\\`)
}

function escapeText(text: string): string {
  return text.replace(AMBIGUOUS, escapeCharacter)
}

function escapeCharacter(character: string): string {
  const named = NAMED[character]
  if (named !== undefined) return named
  const code = character.codePointAt(0) ?? 0
  return code < 0x80 ? escapeByte(code) : `\\u{${code.toString(16)}}`
}

function escapeMixed(bytes: Buffer): string {
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const size = characterSize(bytes, at)
    text +=
      size === 0 ? escapeByte(bytes[at] ?? 0) : escapeText(bytes.toString('utf8', at, at + size))
    at += Math.max(size, 1)
  }
  return text
}

function escapeByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
}

/** Returns the size of the character at `at`; 0 if there is none. */
function characterSize(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0
  const size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  return at + size <= bytes.length && isUtf8(bytes.subarray(at, at + size)) ? size : 0
}

/** Returns the end of a character at `wanted` or a few bytes before. */
function characterEnd(bytes: Buffer, wanted: number): number {
  if (wanted >= bytes.length) return bytes.length
  for (let end = wanted; end > wanted - MAX_CHARACTER_SIZE; end--) {
    if (((bytes[end] ?? 0) & 0xc0) !== 0x80) return end
  }
  return wanted
}
