/** The command `firkin scan`: prints the entries of a range. */

import { Command } from 'commander'
import { toJson, toJsonBytes } from '../entry.ts'
import { withExamples } from '../examples.ts'
import { UsageError } from '../failure.ts'
import { type KeyRangeOptions, rangeOf, withRange } from '../key-range.ts'
import type { Output } from '../output.ts'
import type { Session } from '../session.ts'
import { openToRead } from '../store.ts'
import { countOf, escapePieces, hexPieces } from '../text.ts'

interface ScanOptions extends KeyRangeOptions {
  readonly keys?: boolean
  readonly values?: boolean
}

/** Makes the command `scan`. */
export function scanCommand(session: Session): Command {
  const command = withRange(
    new Command('scan')
      .description('print the entries of a range in key order: key, tab, value, both escaped')
      .argument('<directory>', 'the directory of the store'),
  )
    .option('--reverse', 'from the last key to the first')
    .option('--keys', 'only keys')
    .option('--values', 'only values')
    .option('--hex', 'keys and values as hexadecimal digits, bounds too')
    .action(
      session.action<[directory: string], ScanOptions>(async (call, directory) => {
        const { options, output, interrupt } = call
        const range = rangeOf(options)
        if (options.keys === true && options.values === true) {
          throw new UsageError('--keys and --values exclude each other')
        }
        await using store = await openToRead(directory, output)
        let count = 0
        call.summarise(() => `${countOf(count, 'entry', 'entries')} had been printed`)
        if (options.keys === true) {
          for (const key of store.keys(range)) {
            interrupt.throwIfAborted()
            count++
            if (output.isJson) await output.json({ key: toJsonBytes(key) })
            else await printLine(output, [key], options)
          }
          return
        }
        for (const [key, value] of store.entries(range)) {
          interrupt.throwIfAborted()
          const expiresAt = store.expiresAt(key)
          // It has expired since the scan began.
          if (expiresAt === undefined) continue
          count++
          if (options.values === true && output.isJson) {
            await output.json({ value: toJsonBytes(value) })
          } else if (output.isJson) await output.json(toJson({ key, value, expiresAt }))
          else await printLine(output, options.values === true ? [value] : [key, value], options)
        }
      }),
    )
  return withExamples(
    command,
    'firkin scan ./data --prefix user: --limit 10',
    'firkin scan ./data --gte 2024-01 --lt 2024-02 --reverse',
    'firkin scan ./data --keys | wc -l',
  )
}

async function printLine(
  output: Output,
  parts: readonly Buffer[],
  { hex }: ScanOptions,
): Promise<void> {
  for (const [index, part] of parts.entries()) {
    if (index > 0) await output.write('\t')
    for (const piece of hex === true ? hexPieces(part) : escapePieces(part))
      await output.write(piece)
  }
  await output.write('\n')
}
