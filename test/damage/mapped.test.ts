import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../src/errors.ts'
import { withDirectory } from '../support/directory.ts'
import { openStore } from '../support/store.ts'
import { entriesOf, newestOf } from './records.ts'
import { cutsOf, NOW_MS, singleFlipsOf, smallSubject } from './subject.ts'

const subject = await smallSubject(true)
const right = new Map(entriesOf(subject.allRecords, NOW_MS))

/** Opens a store with mappings and reads everything. Returns how many reads were refused. */
async function readAll(directory: string, readOnly: boolean): Promise<number> {
  try {
    await using store = await openStore(directory, {
      readOnly,
      checkpoint: false,
      createIfMissing: false,
      clock: () => NOW_MS,
    })
    let refused = 0
    for (const key of newestOf(subject.allRecords).keys()) {
      try {
        expect(store.get(key)).toBe(right.get(key))
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error
        refused++
      }
    }
    return refused
  } catch (error) {
    expect(error).toBeInstanceOf(CorruptionError)
    return right.size
  }
}

describe('damage to files that are mapped', () => {
  it.each(subject.segments)(
    'neither ends the process nor shows a wrong value: %s',
    async (name) => {
      const bytes = subject.bytes(name)
      const flips = [...singleFlipsOf(bytes)].filter(([at]) => at % 5 === 0)
      const damaged = [...cutsOf(bytes, 5), ...flips]
      let refused = 0
      for (const [index, [, changed]] of damaged.entries()) {
        await withDirectory(async (directory) => {
          for (const other of subject.names) {
            writeFileSync(join(directory, other), other === name ? changed : subject.bytes(other))
          }
          // Without a checkpoint the segment is read at open, and with one when a value is read.
          if (index % 2 === 0) rmSync(join(directory, 'CHECKPOINT'))
          refused += await readAll(directory, index % 4 < 2)
        })
      }
      expect(refused).toBeGreaterThan(damaged.length / 4)
    },
  )
})
