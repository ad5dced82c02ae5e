import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { type JsonBytes, toJsonBytes } from '../entry.ts'
import { withExamples } from '../examples.ts'
import { STATUS, type Status } from '../failure.ts'
import type { Output } from '../output.ts'
import { copyDamaged, explainRepair, type RepairReport, repairStore } from '../restoration.ts'
import type { Call, Session } from '../session.ts'
import { countOf, escapeBytes, showText } from '../text.ts'

interface RepairOptions {
  readonly dryRun?: boolean
  readonly to?: string
  readonly report?: string
}

/** So many lost keys are named on the terminal; a report names them all. */
const MAX_SHOWN_KEYS = 20

/** `firkin repair`: from a damaged directory to a store that opens. */
export function repairCommand(session: Session): Command {
  const command = new Command('repair')
    .description('make a damaged store whole again, and say exactly what is missing')
    .argument('<directory>', 'the directory of the store')
    .option('--dry-run', 'only say what would be done')
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
  const source = resolve(directory)
  const report = await run(options, source)
  const json = toJson(report)
  if (options.report !== undefined) {
    writeFileSync(options.report, `${JSON.stringify(json, undefined, 2)}\n`)
  }
  if (output.isJson) await output.json(json)
  else await print(output, report)
  return report.verified ? STATUS.fine : STATUS.failed
}

async function run({ dryRun, to }: RepairOptions, source: string): Promise<RepairReport> {
  if (dryRun === true) return await explainRepair(source)
  if (to === undefined) return await repairStore(source)
  const target = resolve(to)
  copyDamaged(source, target)
  return await repairStore(target)
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
    await output.line(`${dryRun ? 'Would make' : 'Made'} anew: ${remade.join(', ')}`)
  }
  for (const path of kept) await output.line(`Kept ${showText(path)}`)
  await output.line(summary(output, report))
}

function summary(output: Output, { lost, dryRun, verified, directory }: RepairReport): string {
  const isLossless = lost.damaged.length === 0
  const unknown =
    lost.bytesUnknown === 0 ? '' : `, and whatever was in ${output.size(lost.bytesUnknown)}`
  const loss = isLossless
    ? 'Nothing is lost'
    : `${output.size(lost.bytesLost)} are lost: ${countOf(lost.recordsLost, 'known record')}, ` +
      `${countOf(lost.keys.length, 'key')} changed by it${unknown}`
  if (dryRun) return `${loss}. Nothing was done`
  return `${loss}. ${showText(directory)} ${output.verdict(verified, verified ? 'is sound' : 'is still damaged')}`
}

interface JsonReport extends Omit<RepairReport, 'lost'> {
  readonly lost: Omit<RepairReport['lost'], 'keys'> & {
    readonly keys: readonly {
      readonly key: JsonBytes
      readonly sequence: number
      readonly rolledBackTo: number | null
    }[]
  }
}

function toJson(report: RepairReport): JsonReport {
  const keys = report.lost.keys.map(({ key, sequence, rolledBackTo }) => ({
    key: toJsonBytes(key),
    sequence,
    rolledBackTo: rolledBackTo ?? null,
  }))
  return { ...report, lost: { ...report.lost, keys } }
}
