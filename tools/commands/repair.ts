/** The command `firkin repair`: makes a damaged store open again. */

import { closeSync, existsSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command } from 'commander'
import {
  copyDamaged,
  explainRepair,
  type RepairReport,
  type RepairWatch,
  repairStore,
} from '../../src/store/repair.ts'
import { type JsonBytes, toJsonBytes } from '../entry.ts'
import { withExamples } from '../examples.ts'
import { describeFailure, Interrupted, STATUS, type Status, UsageError } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Progress } from '../progress.ts'
import type { Call, Session } from '../session.ts'
import { countOf, escapeBytes, showText } from '../text.ts'

interface RepairOptions {
  readonly dryRun?: boolean
  readonly to?: string
  readonly report?: string
}

/** The most lost keys that are named on the terminal; a report names all. */
const MAX_SHOWN_KEYS = 20

/** Makes the command `repair`. */
export function repairCommand(session: Session): Command {
  const command = new Command('repair')
    .description('repair a damaged store, and report exactly what is missing')
    .argument('<directory>', 'the directory of the store')
    .option('--dry-run', 'only report what would be done')
    .option('--to <directory>', 'repair a copy in this directory, and leave the original alone')
    .option('--report <file>', 'write the report to a file, as JSON')
    .addHelpText(
      'after',
      '\nNothing is deleted: what goes is kept beside, as *.damaged, *.leftover and *.torn.',
    )
    .action(session.action<[directory: string], RepairOptions>(repair))
  return withExamples(
    command,
    'firkin repair ./data --dry-run',
    'firkin repair ./data --to ./repaired --report loss.json',
  )
}

async function repair(call: Call<RepairOptions>, directory: string): Promise<Status> {
  const { options, output } = call
  const { report: file } = options
  if (options.to === '') throw new UsageError('The name of the target is empty')
  const isNew = file !== undefined && assertWritable(file)
  let report: RepairReport
  try {
    report = await run(call, resolve(directory))
  } catch (error) {
    if (isNew) rmSync(file, { force: true })
    throw error
  }
  const json = toJson(report)
  if (output.isJson) await output.json(json)
  else await print(output, report)
  await output.flush()
  if (file !== undefined) writeReport(file, json)
  if (report.failure !== undefined) {
    call.summarise(() => 'The repair was not finished; repair again to finish it')
    throw new Error(
      `The repair was not finished: ${reasonOf(report.failure)}; repair again to finish it`,
    )
  }
  return report.verified ? STATUS.fine : STATUS.failed
}

async function run(call: Call<RepairOptions>, source: string): Promise<RepairReport> {
  const { options, output, interrupt } = call
  const { dryRun, to } = options
  const target = to === undefined ? source : resolve(to)
  call.summarise(() =>
    to === undefined || dryRun === true ? 'Nothing was changed' : `${target} was not repaired`,
  )
  let at: { step: string; done: number; progress: Progress } | undefined
  const watch: RepairWatch = (step, done, total) => {
    if (interrupt.aborted) throw new Interrupted()
    // A step may be repeated.
    const goesOn = at?.step === step && at.done <= done
    if (!goesOn) at?.progress.end()
    const progress = goesOn && at ? at.progress : output.progress(step, 'bytes')
    at = { step, done, progress }
    progress.update(done, total)
  }
  try {
    if (dryRun === true) return await explainRepair(source, watch)
    if (to !== undefined) await copyDamaged(source, target, interrupt)
    return await repairStore(target, watch)
  } finally {
    at?.progress.end()
  }
}

/**
 * Makes sure that a report can be written, before anything is repaired. Returns whether the file is
 * new.
 */
function assertWritable(file: string): boolean {
  const isNew = !existsSync(file)
  try {
    closeSync(openSync(file, 'a'))
    return isNew
  } catch (error) {
    throw new Error(`Cannot write ${file}`, { cause: error })
  }
}

function writeReport(file: string, json: JsonReport): void {
  try {
    writeFileSync(file, `${JSON.stringify(json, undefined, 2)}\n`)
  } catch (error) {
    throw new Error(`Cannot write ${file}`, { cause: error })
  }
}

async function print(output: Output, report: RepairReport): Promise<void> {
  const { lost, torn, rebuilt, kept, dryRun } = report
  for (const { file, offset, bytes } of lost.damaged) {
    await output.line(`${showText(file)}:${offset}: ${countOf(bytes, 'byte')} damaged`)
  }
  for (const { file, offset, bytes } of torn) {
    await output.line(`${showText(file)}:${offset}: ${countOf(bytes, 'byte')} unfinished`)
  }
  for (const { key, rolledBackTo } of lost.keys.slice(0, MAX_SHOWN_KEYS)) {
    const fate = rolledBackTo === undefined ? 'lost' : `back at sequence ${rolledBackTo}`
    await output.line(`key "${escapeBytes(key)}": ${fate}`)
  }
  if (lost.keys.length > MAX_SHOWN_KEYS) {
    await output.line(`and ${countOf(lost.keys.length - MAX_SHOWN_KEYS, 'more key')}`)
  }
  const remade = [...(lost.manifestRebuilt ? ['MANIFEST'] : []), ...rebuilt]
  if (remade.length > 0) {
    await output.line(`${dryRun ? 'Would rebuild' : 'Rebuilt'}: ${remade.join(', ')}`)
  }
  for (const path of kept) await output.line(`Kept ${showText(path)}`)
  await output.line(summary(output, report))
}

function summary(output: Output, report: RepairReport): string {
  const { lost, dryRun, verified, directory, failure } = report
  const isLossless = lost.damaged.length === 0
  const unknown =
    lost.bytesUnknown === 0 ? '' : `, and whatever was in ${output.size(lost.bytesUnknown)}`
  const loss = isLossless
    ? 'Nothing is lost'
    : `${output.size(lost.bytesLost)} are lost: ${countOf(lost.recordsLost, 'known record')}, ` +
      `${countOf(lost.keys.length, 'key')} changed by it${unknown}`
  if (dryRun) return `${loss}. Nothing was done`
  if (failure !== undefined) return loss
  return `${loss}. ${showText(directory)} ${output.verdict(verified, verified ? 'is sound' : 'is still damaged')}`
}

/** Returns the reason for which a repair ended early, in words. */
function reasonOf(error: unknown): string {
  return error instanceof Interrupted ? 'it was interrupted' : describeFailure(error).message
}

interface JsonReport extends Omit<RepairReport, 'lost' | 'failure'> {
  readonly failure?: string
  readonly lost: Omit<RepairReport['lost'], 'keys'> & {
    readonly keys: readonly {
      readonly key: JsonBytes
      readonly sequence: number | null
      readonly rolledBackTo: number | null
    }[]
  }
}

function toJson(report: RepairReport): JsonReport {
  const keys = report.lost.keys.map(({ key, sequence, rolledBackTo }) => ({
    key: toJsonBytes(key),
    sequence: sequence ?? null,
    rolledBackTo: rolledBackTo ?? null,
  }))
  const { failure, ...rest } = report
  const json = { ...rest, lost: { ...report.lost, keys } }
  return failure === undefined ? json : { ...json, failure: reasonOf(failure) }
}
