import { join, resolve } from 'node:path'
import { Command } from 'commander'
import { CorruptionError, StoreError } from '../../src/errors.ts'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { knownTailSize, type Manifest } from '../../src/format/manifest.ts'
import { segmentName } from '../../src/format/names.ts'
import { HeldSegments } from '../../src/inspection/held-segments.ts'
import { type PlacedRecord, placeRecord } from '../../src/inspection/placed-record.ts'
import { asReadFailure } from '../../src/inspection/read-failure.ts'
import { findRecord, scanSegment } from '../../src/segment/scan.ts'
import { Window } from '../../src/segment/window.ts'
import { withExamples } from '../examples.ts'
import { STATUS, type Status } from '../failure.ts'
import { printRecord } from '../record-lines.ts'
import type { Call, Session } from '../session.ts'
import { countOf, parseCount } from '../text.ts'

interface DumpOptions {
  readonly segment?: string
  readonly raw?: boolean
}

/** So many bytes of records are taken out of a file before they are printed. */
const STEP_SIZE = 1024 * 1024

/** `firkin dump`: every record, as it lies in the files. */
export function dumpCommand(session: Session): Command {
  const command = new Command('dump')
    .description('print every record in file order, one a line, past damage where there is any')
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
  using segments = HeldSegments.hold(directory)
  const { ids, manifest } = segments
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
  const listed = new Set(manifest.segments.map((sealed) => sealed.id))
  // What a merge has made may have a higher id.
  const newest = ids.filter((id) => !listed.has(id)).at(-1)
  for (const id of wanted === undefined ? ids : [wanted]) {
    const isTail = id === newest
    if (!(await dumpSegment(call, print, directory, segments, id, isTail))) status = STATUS.failed
  }
  return status
}

/** Prints the records of a segment; whether all of it was sound, but for a torn tail. */
async function dumpSegment(
  { output, interrupt }: Call,
  print: (record: PlacedRecord) => Promise<void>,
  directory: string,
  segments: HeldSegments,
  id: number,
  isTail: boolean,
): Promise<boolean> {
  const { manifest } = segments
  let sound = true
  try {
    using segment = segments.take(id)
    if (segment === undefined) {
      if (!isPromised(manifest, id)) return true
      output.warn(`${join(directory, segmentName(id))}: The file ends inside its header`)
      return false
    }
    if (segment.fault !== undefined) {
      output.warn(segment.fault.message)
      sound = false
    }
    const to = segment.size
    const scanOptions = {
      ...segment.scanOptions('loose', FILE_HEADER_SIZE, to),
      preallocatedFrom: isTail ? knownTailSize(manifest, id) : to,
    }
    const window = new Window(scanOptions.files, scanOptions.file, to)
    for (let from = FILE_HEADER_SIZE; from < to; ) {
      interrupt.throwIfAborted()
      const records: PlacedRecord[] = []
      const start = from
      const { end, faultAt, fault, preallocatedSize } = scanSegment(
        { ...scanOptions, from, window },
        (fields, page, offset) => {
          records.push(placeRecord(fields, page, id, offset))
          return offset - start < STEP_SIZE ? undefined : false
        },
      )
      for (const record of records) await print(record)
      from = end + preallocatedSize
      if (faultAt === undefined) continue
      await output.flush()
      const next = findRecord({ ...scanOptions, from: faultAt + 1 }, 0) ?? to
      const lost = `${segment.path}, offset ${faultAt}: ${countOf(next - faultAt, 'byte')}`
      if (isTail && next === to) output.note(`${lost} at the end are unfinished`)
      else {
        output.warn(`${lost} are no record: ${fault}`)
        sound = false
      }
      from = next
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
    throw asReadFailure(error, join(directory, segmentName(id)))
  }
  return sound
}

/** Whether the manifest knows of records in a segment. */
function isPromised({ segments, tailId, tailSize }: Manifest, id: number): boolean {
  return segments.some((sealed) => sealed.id === id) || (id === tailId && tailSize > 0)
}
