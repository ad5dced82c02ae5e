import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../src/errors.ts'
import { FILE_HEADER_SIZE } from '../src/format/file-header.ts'
import { FaultyFiles } from './support/faulty-files.ts'
import { DISK, openOn } from './support/store.ts'

/** What the store of these tests holds. */
const ENTRIES = [
  ['batch 1', 'b'],
  ['batch 2', ''],
  ['live', 'merged'],
  ['put', 'newest'],
]
const KEYS = ['batch 1', 'batch 2', 'dead', 'live', 'put']

/** A store that was closed: a merged segment with its hint, one of the tail, a manifest, a checkpoint. */
async function closedStore(): Promise<FaultyFiles> {
  const files = new FaultyFiles(1)
  const store = await openOn(files)
  await store.put('live', 'merged')
  await store.put('put', 'old')
  await store.put('put', 'older')
  await store.put('dead', 'value')
  await store.merge()
  await store.put('put', 'newest')
  await store.delete('dead')
  await store.batch().put('batch 1', 'b').put('batch 2', '').commit()
  await store.close()
  return files
}

const store = await closedStore()
const names = (store.list(DISK) ?? []).sort()
const segments = names.filter((name) => name.endsWith('.segment'))
// A merge takes its ids after the segment that is begun for what is written meanwhile.
const [tail = '', merged = ''] = segments
const hint = names.find((name) => name.endsWith('.hint')) ?? ''

/** `'right'`, where everything is there; otherwise what was refused: the opening, or the reading of a key. */
type Outcome = 'right' | 'refused at open' | 'refused when read'

/** Opens the store with a file that is not what it was, and reads all there is. */
async function tryWith(
  name: string,
  bytes: Buffer | undefined,
  without: readonly string[],
): Promise<Outcome> {
  const files = store.restart(1)
  for (const shortcut of without) files.poke(join(DISK, shortcut), undefined)
  files.poke(join(DISK, name), bytes)
  const size = store.peek(join(DISK, name))?.length ?? 0
  const assertNamed = (error: unknown): void => {
    expect(error).toBeInstanceOf(CorruptionError)
    const { file, offset } = error as CorruptionError
    expect(file).toBe(join(DISK, name))
    expect(offset).toBeLessThanOrEqual(size)
  }
  try {
    const opened = await openOn(files, { createIfMissing: false })
    // A damaged checkpoint is told of, and made up for.
    opened.on('error', () => undefined)
    let outcome: Outcome = 'right'
    const found: (string | undefined)[][] = []
    for (const key of KEYS) {
      try {
        const value = opened.get(key)
        if (value !== undefined) found.push([key, value])
      } catch (error) {
        assertNamed(error)
        outcome = 'refused when read'
        found.push([key, ENTRIES.find(([other]) => other === key)?.[1]])
      }
    }
    expect(found).toEqual(ENTRIES)
    await opened.close().catch(() => undefined)
    return outcome
  } catch (error) {
    assertNamed(error)
    return 'refused at open'
  }
}

function fileBytes(name: string): Buffer {
  return store.peek(join(DISK, name)) ?? Buffer.alloc(0)
}

/** What comes of a file with a bit flipped in each of its bytes from `from` on, or in one of every `step`. */
async function flipEach(
  name: string,
  without: string[] = [],
  from = 0,
  step = 1,
): Promise<Set<Outcome>> {
  const outcomes = new Set<Outcome>()
  for (let at = from; at < fileBytes(name).length; at += step) {
    const bytes = fileBytes(name)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
    outcomes.add(await tryWith(name, bytes, without))
  }
  return outcomes
}

/** What comes of a file that ends at each of its bytes, or at one of every `step`. */
async function cutEach(name: string, without: string[] = [], step = 1): Promise<Set<Outcome>> {
  const outcomes = new Set<Outcome>()
  for (let size = 0; size < fileBytes(name).length; size += step) {
    outcomes.add(await tryWith(name, fileBytes(name).subarray(0, size), without))
  }
  return outcomes
}

describe('damage after a clean close', () => {
  it('is tried on every kind of file', () => {
    expect(names).toEqual([merged, hint, tail, 'CHECKPOINT', 'MANIFEST'].sort())
    expect(segments).toHaveLength(2)
  })

  it('to the manifest is refused', async () => {
    expect(await flipEach('MANIFEST')).toEqual(new Set(['refused at open']))
    expect(await cutEach('MANIFEST')).toEqual(new Set(['refused at open']))
    expect(await tryWith('MANIFEST', undefined, [])).toBe('refused at open')
  })

  it('to the checkpoint changes nothing', async () => {
    expect(await flipEach('CHECKPOINT', [], 0, 11)).toEqual(new Set(['right']))
    expect(await cutEach('CHECKPOINT', [], 11)).toEqual(new Set(['right']))
    expect(await tryWith('CHECKPOINT', undefined, [])).toBe('right')
  })

  it('to a hint changes nothing', async () => {
    expect(await flipEach(hint, ['CHECKPOINT'])).toEqual(new Set(['right']))
    expect(await cutEach(hint, ['CHECKPOINT'])).toEqual(new Set(['right']))
    expect(await tryWith(hint, undefined, ['CHECKPOINT'])).toBe('right')
  })

  it.each([merged, tail])('to a whole segment is refused: %s', async (name) => {
    expect(await cutEach(name)).toEqual(new Set(['refused at open']))
    expect(await tryWith(name, undefined, [])).toBe('refused at open')
  })

  it('to a record of a listed segment is refused when it is read', async () => {
    const outcomes = await flipEach(merged, [], FILE_HEADER_SIZE)

    // A record that is dead is never read.
    expect([...outcomes].sort()).toEqual(['refused when read', 'right'])
  })

  it('to a listed segment is refused at open where there are no shortcuts', async () => {
    const outcomes = await flipEach(merged, ['CHECKPOINT', hint])

    expect(outcomes).toEqual(new Set(['refused at open']))
  })

  it('to a segment of the tail is refused at open where there is no checkpoint', async () => {
    expect(await flipEach(tail, ['CHECKPOINT'])).toEqual(new Set(['refused at open']))
  })

  it('to a segment of the tail never gives a wrong value', async () => {
    const outcomes = await flipEach(tail, [], FILE_HEADER_SIZE)

    // Tombstones and batch ends are in the checkpoint, and are not read.
    expect([...outcomes].sort()).toEqual(['refused when read', 'right'])
  })
})

describe('a file of a later version', () => {
  /** The file, saying that it is of version 2. */
  function later(name: string): Buffer {
    const bytes = fileBytes(name)
    bytes[7] = 2
    bytes.writeUInt32LE(crc32(bytes.subarray(0, FILE_HEADER_SIZE - 4)), FILE_HEADER_SIZE - 4)
    return bytes
  }

  it.each(['MANIFEST', merged, tail])('is refused by its version: %s', async (name) => {
    const files = store.restart(1)
    files.poke(join(DISK, name), later(name))

    await expect(openOn(files)).rejects.toMatchObject({
      code: 'FIRKIN_VERSION',
      message: expect.stringContaining(`${name} is of format version 2`),
    })
  })

  it('is ignored where it is a shortcut', async () => {
    expect(await tryWith('CHECKPOINT', later('CHECKPOINT'), [])).toBe('right')
    expect(await tryWith(hint, later(hint), ['CHECKPOINT'])).toBe('right')
  })
})
