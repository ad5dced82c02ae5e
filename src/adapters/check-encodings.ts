/** Checks that an adapter's store or cache is open, with encodings that it can use. */

import type { KeyEncoding, ValueEncoding } from '../index.ts'

/** The encodings of an open store or cache. A cache has no `keyEncoding`: its keys are text. */
interface Encoded {
  readonly keyEncoding?: KeyEncoding
  readonly valueEncoding: ValueEncoding<never> | ValueEncoding<unknown>
}

/**
 * The name of any codec. Only its types say which values it takes, so it is not checked further.
 */
export const CODEC = 'a codec'

/**
 * Checks that an adapter got an open store or cache with encodings that it can use.
 *
 * @param values the value encodings that the adapter accepts: names, and {@link CODEC}
 * @throws TypeError
 */
export function checkEncodings(
  adapter: string,
  kind: 'store' | 'cache',
  source: Encoded,
  values: readonly string[],
): void {
  const { keyEncoding, valueEncoding } = Object(source)
  // A store has a keyEncoding, a cache has none, and a promise of either has no encoding at all.
  if (valueEncoding === undefined || (keyEncoding === undefined) !== (kind === 'cache')) {
    throw new TypeError(`${adapter} needs an open ${kind}`)
  }
  if (kind === 'store' && keyEncoding !== 'utf8') {
    throw new TypeError(`${adapter} takes a ${kind} with keyEncoding utf8, not ${keyEncoding}`)
  }
  checkValueEncoding(adapter, kind, valueEncoding, values)
}

/** Checks that an adapter accepts a value encoding. @throws TypeError */
export function checkValueEncoding(
  adapter: string,
  kind: 'store' | 'cache',
  encoding: Encoded['valueEncoding'],
  values: readonly string[],
): void {
  const name = typeof encoding === 'string' ? encoding : CODEC
  if (values.includes(name)) return
  throw new TypeError(
    `${adapter} takes a ${kind} with valueEncoding ${values.join(' or ')}, not ${name}`,
  )
}
