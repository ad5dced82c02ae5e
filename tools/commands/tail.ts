/** The command `firkin tail`: prints the newest records. */

import { resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Command } from 'commander'
import { RecordFeed } from '../../src/inspection/record-feed.ts'
import { steadily } from '../../src/inspection/steady.ts'
import { systemFiles } from '../../src/io/files.ts'
import { withExamples } from '../examples.ts'
import { STATUS, type Status } from '../failure.ts'
import { printRecord } from '../record-lines.ts'
import type { Call, Session } from '../session.ts'
import { parseCount, parseDuration } from '../text.ts'

interface TailOptions {
  readonly follow?: boolean
  readonly lines: string
  readonly interval: string
  readonly raw?: boolean
}

/** Makes the command `tail`. */
export function tailCommand(session: Session): Command {
  const command = new Command('tail')
    .description(
      'print the newest records, as dump does; with --follow each new one, as it is written',
    )
    .argument('<directory>', 'the directory of the store')
    .option('-f, --follow', 'go on until Ctrl-C')
    .option('-n, --lines <count>', 'the number of records to begin with', '10')
    .option('--interval <duration>', 'how often to look for new ones', '100ms')
    .option('--raw', 'keys and values as hexadecimal digits')
    .action(session.action<[directory: string], TailOptions>(tail))
  return withExamples(command, 'firkin tail ./data -n 20', 'firkin tail ./data --follow --json')
}

async function tail(call: Call<TailOptions>, directory: string): Promise<Status> {
  const path = resolve(directory)
  const { options, output, interrupt } = call
  const raw = options.raw === true
  const count = parseCount(options.lines)
  const intervalMs = parseDuration(options.interval)
  using feed = new RecordFeed(systemFiles, path)
  for (const record of await steadily(systemFiles, path, () => feed.newest(count))) {
    interrupt.throwIfAborted()
    await printRecord(output, record, raw)
  }
  await output.flush()
  while (options.follow === true && !interrupt.aborted) {
    const records = feed.next()
    for (const record of records) await printRecord(output, record, raw)
    await output.flush()
    if (records.length > 0) continue
    // Ctrl-C ends the wait.
    await setTimeout(intervalMs, undefined, { signal: interrupt }).catch(() => undefined)
  }
  return STATUS.fine
}
