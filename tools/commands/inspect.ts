/** The command `firkin inspect`: shows a store at a glance. */

import { resolve } from 'node:path'
import { Command } from 'commander'
import { type SegmentSurvey, type StoreSurvey, surveyStore } from '../../src/inspection/survey.ts'
import { systemFiles } from '../../src/io/files.ts'
import { describeType } from '../../src/io/network.ts'
import { withExamples } from '../examples.ts'
import { STATUS } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Session } from '../session.ts'
import { openToRead } from '../store.ts'
import type { Column } from '../table.ts'
import { countOf, formatCount, formatMoment, showText } from '../text.ts'

const COLUMNS: readonly Column[] = [
  { title: 'segment', align: 'right' },
  { title: 'origin' },
  { title: 'size', align: 'right' },
  { title: 'live', align: 'right' },
  { title: 'dead', align: 'right' },
  { title: 'puts', align: 'right' },
  { title: 'tombstones', align: 'right' },
  { title: 'sequences' },
  { title: 'expiry', flexible: true },
  { title: 'hint' },
]

/** Makes the command `inspect`. */
export function inspectCommand(session: Session): Command {
  const command = new Command('inspect')
    .description('show a store at a glance: its keys, its segments, what a merge would gain')
    .argument('<directory>', 'the directory of the store')
    .action(
      session.action<[directory: string]>(async ({ output }, directory) => {
        const survey = await surveyStore(systemFiles, resolve(directory), () =>
          openToRead(directory),
        )
        if (output.isJson) await output.json(survey)
        else await print(output, survey)
        const isSound = survey.damage === undefined && !survey.merge?.leftOut.length
        return isSound ? STATUS.fine : STATUS.failed
      }),
    )
  return withExamples(command, 'firkin inspect ./data', 'firkin inspect --json ./data | jq .keys')
}

async function print(output: Output, survey: StoreSurvey): Promise<void> {
  const { merge, segments, fileSystem } = survey
  const size = (bytes: number | undefined): string =>
    bytes === undefined ? '?' : output.size(bytes)
  await output.list([
    [survey.kind, showText(survey.directory)],
    ...(survey.valueEncoding === undefined
      ? []
      : [['values', showText(survey.valueEncoding)] satisfies [string, string]]),
    ...(fileSystem === undefined
      ? []
      : [['file system', describeType(fileSystem)] satisfies [string, string]]),
    ['id', survey.storeId],
    ['format', `version ${survey.format}`],
    ['state', state(output, survey)],
    ['keydir', survey.keydir],
    ['keys', survey.keys === undefined ? '?' : formatCount(survey.keys)],
    [
      'size',
      `${size(survey.bytes)} in ${countOf(segments.length, 'segment')}: ${size(survey.liveBytes)} live, ` +
        `${size(survey.deadBytes)} dead, ${size(survey.tombstoneBytes)} tombstones`,
    ],
    ['next sequence', formatCount(survey.nextSequence)],
    ['checkpoint', survey.checkpoint],
    ['merge', gain(merge, size)],
    ...(merge?.leftOut ?? []).map(({ id, error }): [string, string] => [
      'left out',
      output.verdict(false, `segment ${id} of any merge: ${error.message}`),
    ]),
  ])
  if (segments.length === 0) return
  await output.line('')
  await output.table(
    COLUMNS,
    segments.map((segment) => row(segment, size)),
  )
}

function gain(merge: StoreSurvey['merge'], size: (bytes: number) => string): string {
  if (merge === undefined) return '?'
  const { segments, bytesRead, bytesGained } = merge
  if (segments === 0) return 'nothing to gain'
  return `would gain ${size(bytesGained)} by reading ${size(bytesRead)} of ${countOf(segments, 'segment')}`
}

function state(output: Output, { damage, inUseBy, closed, tornBytes }: StoreSurvey): string {
  if (damage !== undefined) return output.verdict(false, `damaged: ${damage}`)
  const torn = tornBytes === 0 ? '' : `; ${output.size(tornBytes)} at the end are unfinished`
  if (inUseBy !== undefined) return `in use by ${showText(inUseBy)}${torn}`
  if (closed) return output.verdict(true, 'closed in good order')
  return `not closed: its last process ended without closing it${torn}`
}

function row(segment: SegmentSurvey, size: (bytes: number | undefined) => string): string[] {
  const { minSequence, maxSequence, minExpiryMs, maxExpiryMs } = segment
  return [
    String(segment.id),
    segment.active ? 'active' : segment.origin,
    size(segment.bytes),
    size(segment.liveBytes),
    size(segment.deadBytes),
    formatCount(segment.puts),
    formatCount(segment.tombstones),
    maxSequence === 0 ? '-' : `${minSequence}-${maxSequence}`,
    maxExpiryMs === 0 ? '-' : `${formatMoment(minExpiryMs)} to ${formatMoment(maxExpiryMs)}`,
    segment.hint ?? '-',
  ]
}
