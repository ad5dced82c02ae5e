/** The command `firkin dump`: prints every record in file order. */

import { join, resolve } from 'node:path'
import { Command } from 'commander'
import { CorruptionError, StoreError } from '../../src/errors.ts'
import { knownTailSize } from '../../src/format/manifest.ts'
import { segmentName } from '../../src/format/names.ts'
import { HeldSegments } from '../../src/inspection/held-segments.ts'
import type { PlacedRecord } from '../../src/inspection/placed-record.ts'
import { asReadFailure } from '../../src/inspection/read-failure.ts'
import { readRecords } from '../../src/inspection/segment-records.ts'
import { systemFiles } from '../../src/io/files.ts'
import { withExamples } from '../examples.ts'
import { STATUS, type Status } from '../failure.ts'
import { printRecord } from '../record-lines.ts'
import type { Call, Session } from '../session.ts'
import { countOf, parseCount } from '../text.ts'

interface DumpOptions {
  readonly segment?: string
  readonly raw?: boolean
}

/** Makes the command `dump`. */
export function dumpCommand(session: Session): Command {
  const command = new Command('dump')
    .description('print every record in file order, one a line, past any damage')
    .argument('<directory>', 'the directory of the store')
    .option('--segment <id>', 'only this segment')
    .option('--raw', 'keys and values as hexadecimal digits')
    .addHelpText(
      'after',
      '\nFields: segment, offset, sequence, kind, key size, value size, expiry, key, value; tabs between them.',
    )
    .action(session.action<[directory: string], DumpOptions>(dump))
  return withExamples(
    command,
    'firkin dump ./data',
    'firkin dump ./data --segment 3 --raw',
    "firkin dump ./data | awk -F'\\t' '$4 == \"tombstone\"'",
  )
}

async function dump(call: Call<DumpOptions>, given: string): Promise<Status> {
  const { options } = call
  const directory = resolve(given)
  const wanted = options.segment === undefined ? undefined : parseCount(options.segment, 1)
  using segments = HeldSegments.hold(systemFiles, directory)
  const { ids } = segments
  if (wanted !== undefined && !ids.includes(wanted)) {
    throw new StoreError('FIRKIN_NOT_FOUND', `There is no segment ${wanted} in ${directory}`)
  }
  let status: Status = STATUS.fine
  let count = 0
  call.summarise(() => `${countOf(count, 'record')} had been printed`)
  const print = async (record: PlacedRecord): Promise<void> => {
    count++
    await printRecord(call.output, record, options.raw === true)
  }
  for (const id of wanted === undefined ? ids : [wanted]) {
    const path = join(directory, segmentName(id))
    if (!(await dumpSegment(call, print, path, segments, id))) status = STATUS.failed
  }
  return status
}

/** Prints the records of a segment. Returns whether all of it was sound, except for a torn tail. */
async function dumpSegment(
  { output, interrupt }: Call,
  print: (record: PlacedRecord) => Promise<void>,
  path: string,
  segments: HeldSegments,
  id: number,
): Promise<boolean> {
  const isNewest = id === segments.newestId
  let sound = true
  try {
    using segment = segments.take(id)
    if (segment === undefined) {
      if (!segments.isPromised(id)) return true
      output.warn(`${path}: The file ends inside its header`)
      return false
    }
    if (segment.fault !== undefined) {
      output.warn(segment.fault.message)
      sound = false
    }
    const preallocatedFrom = isNewest ? knownTailSize(segments.manifest, id) : undefined
    for (const { records, gap } of readRecords(segment, preallocatedFrom)) {
      interrupt.throwIfAborted()
      for (const record of records) await print(record)
      if (gap === undefined) continue
      await output.flush()
      const lost = `${path}, offset ${gap.offset}: ${countOf(gap.bytes, 'byte')}`
      if (isNewest && gap.isLast) output.note(`${lost} at the end are unfinished`)
      else {
        output.warn(`${lost} are not a record: ${gap.fault}`)
        sound = false
      }
    }
  } catch (error) {
    if (error instanceof CorruptionError) {
      if (segments.isGone(id)) {
        output.note(`Segment ${id} has gone: a merge has moved what was live in it to a newer one`)
        return true
      }
      output.warn(error.message)
      return false
    }
    throw asReadFailure(error, path)
  }
  return sound
}
