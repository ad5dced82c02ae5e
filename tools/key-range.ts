/** The options of commands that take a range of keys. */

import type { Command } from 'commander'
import type { RangeOptions } from '../src/engine/range.ts'
import { UsageError } from './failure.ts'
import { encodeText, parseCount, parseHex } from './text.ts'

/** The options of a range of keys. */
export interface KeyRangeOptions {
  readonly hex?: boolean
  readonly prefix?: string
  readonly gt?: string
  readonly gte?: string
  readonly lt?: string
  readonly lte?: string
  readonly reverse?: boolean
  readonly limit?: string
}

/** Adds the options of a range to a command. */
export function withRange(command: Command): Command {
  return command
    .option('--prefix <key>', 'only keys that begin with this')
    .option('--gt <key>', 'only keys above this one')
    .option('--gte <key>', 'only this key and those above')
    .option('--lt <key>', 'only keys below this one')
    .option('--lte <key>', 'only this key and those below')
    .option('--limit <count>', 'at most this many')
}

/** Returns the range for options. @throws UsageError */
export function rangeOf(options: KeyRangeOptions): RangeOptions {
  const bounds = (['prefix', 'gt', 'gte', 'lt', 'lte'] as const).flatMap((name) => {
    const key = options[name]
    return key === undefined
      ? []
      : [[name, options.hex === true ? parseHex(key) : encodeText(key, 'key')] as const]
  })
  return {
    ...Object.fromEntries(bounds),
    ...(options.limit === undefined ? {} : { limit: parseCount(options.limit) }),
    reverse: options.reverse === true,
  }
}

/** Returns the key for an argument. @throws UsageError */
export function keyOf(text: string, { hex }: { readonly hex?: boolean }): Buffer {
  const key = hex === true ? parseHex(text) : encodeText(text, 'key')
  if (key.length === 0) throw new UsageError('The key is empty; the least is 1 byte')
  return key
}
