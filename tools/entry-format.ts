/** The options of commands that read or write entries as text. */

import { type Command, Option } from 'commander'
import { csvFormat } from './csv.ts'
import type { EntryFormat } from './entry.ts'
import { UsageError } from './failure.ts'
import { ndjsonFormat } from './ndjson.ts'

/** The options of a format. */
export interface FormatOptions {
  readonly format?: 'ndjson' | 'csv'
  readonly key: string
  readonly value: string
  readonly expiry: string
  readonly base64?: boolean
  readonly gzip?: boolean
}

/** Adds the options of a format to a command. */
export function withFormat(command: Command): Command {
  return command
    .addOption(
      new Option('--format <name>', 'ndjson or csv; by the file name where it is missing').choices([
        'ndjson',
        'csv',
      ]),
    )
    .option('--key <column>', 'the CSV column of keys', 'key')
    .option('--value <column>', 'the CSV column of values', 'value')
    .option(
      '--expiry <column>',
      'the CSV column of expiry, in milliseconds since 1970',
      'expiresAt',
    )
    .option('--base64', 'CSV keys and values are base64')
    .option('--gzip', 'compressed; so is a file whose name ends in .gz')
}

/** A format, and whether it is compressed. */
export interface ChosenFormat {
  readonly format: EntryFormat
  readonly gzip: boolean
}

/** Returns the format for options and, without them, for a file name. @throws UsageError */
export function chooseFormat(options: FormatOptions, file: string | undefined): ChosenFormat {
  const [, inner = '', compressed] = /^(.*?)(\.gz)?$/.exec(file ?? '') ?? []
  const name = options.format ?? (inner.endsWith('.csv') ? 'csv' : 'ndjson')
  const columns = [options.key, options.value, options.expiry]
  if (new Set(columns).size < columns.length) {
    throw new UsageError(`The columns ${columns.join(', ')} are not all different`)
  }
  return {
    format: name === 'csv' ? csvFormat(options) : ndjsonFormat,
    gzip: options.gzip === true || compressed !== undefined,
  }
}
