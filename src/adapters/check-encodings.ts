import type { KeyEncoding, ValueEncoding } from '../index.ts'

/** What a store or a cache that is open says of itself; a cache's keys are always text. */
interface Encoded {
  readonly keyEncoding?: KeyEncoding
  readonly valueEncoding: ValueEncoding<never> | ValueEncoding<unknown>
}

/** Any codec: taken at its word, for only its types say what it takes. */
export const CODEC = 'a codec'

/**
 * Checks that an adapter can do with what it is put on.
 *
 * @param values the value encodings that the adapter can do with: names, and {@link CODEC}
 * @throws TypeError
 */
export function checkEncodings(
  adapter: string,
  kind: 'store' | 'cache',
  source: Encoded,
  values: readonly string[],
): void {
  const { keyEncoding, valueEncoding } = Object(source)
  // Only a store says how its keys are encoded; a promise of one says nothing.
  if (valueEncoding === undefined || (keyEncoding === undefined) !== (kind === 'cache')) {
    throw new TypeError(`${adapter} needs an open ${kind}`)
  }
  if (kind === 'store' && keyEncoding !== 'utf8') {
    throw new TypeError(`${adapter} takes a ${kind} with keyEncoding utf8, not ${keyEncoding}`)
  }
  checkValueEncoding(adapter, kind, valueEncoding, values)
}

/** @throws TypeError where an adapter cannot do with the encoding */
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
