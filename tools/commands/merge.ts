/** The command `firkin merge`: rewrites segments to give space back. */

import { resolve } from 'node:path'
import { Command } from 'commander'
import { previewMerge } from '../../src/inspection/merge-preview.ts'
import { systemFiles } from '../../src/io/files.ts'
import type { MergeReport } from '../../src/merge/options.ts'
import { withExamples } from '../examples.ts'
import { STATUS, type Status } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Call, Session } from '../session.ts'
import { openToRead, openToWrite, WAIT_OPTION, type WaitOptions } from '../store.ts'
import type { Column } from '../table.ts'
import { countOf, formatDuration } from '../text.ts'

interface MergeOptions extends WaitOptions {
  readonly dryRun?: boolean
  readonly all?: boolean
}

const COLUMNS: readonly Column[] = [
  { title: 'segment', align: 'right' },
  { title: 'size', align: 'right' },
  { title: 'gain', align: 'right' },
  { title: 'why' },
]

/** Makes the command `merge`. */
export function mergeCommand(session: Session): Command {
  const command = new Command('merge')
    .description('rewrite segments without their dead records, to free space')
    .argument('<directory>', 'the directory of the store')
    .option('--dry-run', 'only report what would be done')
    .option('--all', 'every segment with dead bytes, not only what the policy finds worthwhile')
    .option(...WAIT_OPTION)
    .action(session.action<[directory: string], MergeOptions>(merge))
  return withExamples(command, 'firkin merge ./data --all --dry-run', 'firkin merge ./data')
}

async function merge(call: Call<MergeOptions>, directory: string): Promise<Status> {
  const { output, options } = call
  const all = options.all === true
  const report = await (options.dryRun === true
    ? dryRun(call, directory, all)
    : run(call, directory, all))
  if (output.isJson) await output.json(report)
  else await print(output, report, all)
  return report.leftOut.length === 0 ? STATUS.fine : STATUS.failed
}

/** Finds out what would be done. The store is not changed. */
async function dryRun({ output }: Call, directory: string, all: boolean): Promise<MergeReport> {
  await using store = await openToRead(directory, output)
  const preview = previewMerge(systemFiles, resolve(directory), store.stats(), all)
  return { dryRun: true, ...preview, created: [], durationMs: 0 }
}

async function run(
  call: Call<MergeOptions>,
  directory: string,
  all: boolean,
): Promise<MergeReport> {
  const { output, interrupt } = call
  call.summarise(() => 'Nothing was merged')
  await using store = await openToWrite(directory, call, { create: false })
  using progress = output.progress('merge', 'bytes')
  return await store.merge({
    byPolicy: !all,
    signal: interrupt,
    onProgress({ bytesRead, bytesTotal, bytesWritten }) {
      progress.update(
        bytesRead,
        bytesTotal,
        `${output.size(bytesWritten)} written, ${output.size(bytesRead - bytesWritten)} gained`,
      )
    },
  })
}

async function print(output: Output, report: MergeReport, all: boolean): Promise<void> {
  const { segments, leftOut, bytesRead, bytesWritten, bytesGained, durationMs } = report
  for (const { id, error } of leftOut) {
    await output.line(`Segment ${id} is left out: ${error.message}`)
  }
  if (segments.length === 0) {
    await output.line(
      all ? 'Nothing to gain' : 'Nothing worth merging; --all merges every segment with dead bytes',
    )
    return
  }
  await output.table(
    COLUMNS,
    segments.map(({ id, bytes, bytesGained, reason }) => [
      String(id),
      output.size(bytes),
      output.size(bytesGained),
      reason,
    ]),
  )
  const what = countOf(segments.length, 'segment')
  const merged = report.dryRun
    ? `Would merge ${what}`
    : `Merged ${what} in ${formatDuration(durationMs)}`
  await output.line(
    `${merged}: ${output.size(bytesRead)} read, ${output.size(bytesWritten)} written, ` +
      `${output.size(bytesGained)} gained`,
  )
}
