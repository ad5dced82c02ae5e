/**
 * Copies of a live directory that other programs make, file by file, while the store is written and
 * merged. src/store/ENVIRONMENTS.md says which of them are sound.
 */

import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../src/errors.ts'
import { errorCode } from '../../src/io/files.ts'
import { withDirectory } from '../support/directory.ts'
import { Random } from '../support/random.ts'
import { openStore, type TextStore } from '../support/store.ts'

const run = promisify(execFile)

const KEY_COUNT = 200
const PAD = 'x'.repeat(300)
/** The most copies that are made to find the kinds of outcomes that a test needs. */
const MOST_COPIES = 100

/** On a busy machine merges delete more of what is being copied. */
const TIMEOUT_MS = 300_000

/** A store that is written all the time, by batches whose outcome is known from their number. */
class Writer {
  readonly store: TextStore
  /** The number of batches that were begun, and of those that had settled. */
  issued = 0
  settled = 0
  #isStopped = false
  #writing: Promise<void> | undefined

  constructor(store: TextStore) {
    this.store = store
  }

  static async use(directory: string, use: (writer: Writer) => Promise<void>): Promise<void> {
    const merge = { automatic: true, triggerDeadRatio: 0.3, thresholdDeadRatio: 0.1 }
    await using store = await openStore(directory, { merge })
    const writer = new Writer(store)
    writer.#writing = writer.#write()
    try {
      await use(writer)
    } finally {
      writer.#isStopped = true
      await writer.#writing
    }
  }

  async #write(): Promise<void> {
    while (!this.#isStopped) {
      const count = ++this.issued
      const batch = this.store.batch().put('first', `${count}`)
      if (isDeleted(count)) batch.delete(keyOf(count))
      else batch.put(keyOf(count), count + PAD)
      await batch.put('last', `${count}`).commit()
      this.settled = count
      // Faster, merges would leave hardly a copy without a segment that vanished.
      if (count % 20 === 0) await setTimeout(2)
    }
  }
}

function isDeleted(count: number): boolean {
  return count % 7 === 0
}

function keyOf(count: number): string {
  return `key ${count % KEY_COUNT}`
}

/** Returns what a store holds after the first batches. */
function stateAfter(count: number): Map<string, string> {
  const state = new Map<string, string>()
  for (let each = Math.max(1, count - KEY_COUNT + 1); each <= count; each++) {
    if (!isDeleted(each)) state.set(keyOf(each), each + PAD)
  }
  if (count > 0) for (const key of ['first', 'last']) state.set(key, `${count}`)
  return state
}

/** A copy: what it holds, and what its tool said. */
interface Copy {
  /** The number of batches it holds, if it opens; whatever it holds beyond them is refused. */
  readonly batchCount: number | undefined
  /** The number of batches that had settled before it, and of those begun when it was complete. */
  readonly before: number
  readonly after: number
  /** Whether a segment vanished before it was copied. */
  readonly lacksSegment: boolean
}

/** Copies a directory file by file. Returns the names of the files that vanished meanwhile. */
type Copier = (source: string, target: string) => Promise<readonly string[]>

async function makeCopy(writer: Writer, target: string, copier: Copier): Promise<Copy> {
  const before = writer.settled
  const vanished = await copier(writer.store.directory, target)
  const after = writer.issued
  const lacksSegment = vanished.some((name) => name.endsWith('.segment'))
  return { batchCount: await batchCountOf(target), before, after, lacksSegment }
}

/** Opens a copy, and checks that it holds the state after some number of batches exactly. */
async function batchCountOf(directory: string): Promise<number | undefined> {
  let store: TextStore
  try {
    store = await openStore(directory)
  } catch (error) {
    // Nothing but damage may keep it from opening, and it is told where that is.
    expect(error).toBeInstanceOf(CorruptionError)
    return undefined
  }
  try {
    const count = Number(store.get('last') ?? 0)
    expect(new Map(store)).toEqual(stateAfter(count))
    expect((await store.verify()).ok).toBe(true)
    return count
  } finally {
    await store.close()
  }
}

/** Copies a live directory until there are enough copies, and checks each of them. */
async function copyUntil(
  copier: Copier,
  isEnough: (copies: readonly Copy[]) => boolean,
): Promise<readonly Copy[]> {
  const copies: Copy[] = []
  await withDirectory(async (directory) => {
    await Writer.use(join(directory, 'live'), async (writer) => {
      const target = join(directory, 'copy')
      const { merge } = writer.store.stats()
      while (writer.store.stats().merge.count < merge.count + 3) await setImmediate()
      while (copies.length < MOST_COPIES && !isEnough(copies)) {
        copies.push(await makeCopy(writer, target, copier))
        rmSync(target, { recursive: true })
      }
    })
  })
  for (const { batchCount, before, after, lacksSegment } of copies) {
    if (batchCount === undefined) continue
    expect(batchCount).toBeLessThanOrEqual(after)
    if (!lacksSegment) expect(batchCount).toBeGreaterThanOrEqual(before)
  }
  return copies
}

/** Runs a program that copies. Returns the names of the files that it says have vanished. */
async function runCopier(command: string, ...args: string[]): Promise<readonly string[]> {
  try {
    await run(command, args)
    return []
  } catch (error) {
    const { code, stderr } = error as { code: number; stderr: string }
    expect(code, stderr).toBe(1)
    const complaints = stderr.split('\n').filter((line) => line !== '')
    expect(complaints).not.toEqual([])
    return complaints.flatMap((line) => {
      if (line.includes('file changed as we read it')) return []
      const [, name] = /([^/'‘]+?)['’]?: (?:No such file|File removed)/.exec(line) ?? []
      return [name ?? line]
    })
  }
}

const TOOLS: [string, Copier][] = [
  ['cp -r', async (source, target) => await runCopier('cp', '-r', source, target)],
  [
    'tar',
    async (source, target) => {
      mkdirSync(target)
      const archive = join(target, 'archive.tar')
      const vanished = await runCopier('tar', '-cf', archive, '-C', source, '.')
      await run('tar', ['-xf', archive, '-C', target])
      rmSync(archive)
      return vanished
    },
  ],
]

/** Copies files in any order, and pauses between some of them. */
function shuffled(random: Random): Copier {
  return async (source, target) => {
    const mayPause = random.chance(0.5)
    const names = readdirSync(source)
    const vanished: string[] = []
    mkdirSync(target)
    while (names.length > 0) {
      const [name = ''] = names.splice(random.below(names.length), 1)
      if (mayPause && random.chance(0.5)) await setTimeout(random.below(20))
      try {
        await writeFile(join(target, name), await readFile(join(source, name)))
      } catch (error) {
        if (errorCode(error) !== 'ENOENT') throw error
        vanished.push(name)
      }
    }
    return vanished
  }
}

function isSound({ batchCount, before, after, lacksSegment }: Copy): boolean {
  return batchCount !== undefined && !lacksSegment && after > before
}

describe.skipIf(process.platform === 'win32')('a copy of a live directory', () => {
  it.each(TOOLS)(
    'by %s holds all that had settled before it, and no part of a batch, unless it is refused or a segment vanished',
    async (_, copier) => {
      const copies = await copyUntil(copier, (made) => made.filter(isSound).length >= 4)

      expect(copies.filter(isSound).length).toBeGreaterThanOrEqual(4)
    },
    TIMEOUT_MS,
  )

  it(
    'in any order holds just as much, or is refused, or a segment vanished',
    async () => {
      const copier = shuffled(new Random(Number(process.env.SEED ?? 1)))

      const copies = await copyUntil(
        copier,
        (made) =>
          made.filter(isSound).length >= 4 &&
          made.filter(({ batchCount }) => batchCount === undefined).length >= 2,
      )

      expect(copies.filter(isSound).length).toBeGreaterThanOrEqual(4)
      expect(copies.filter(({ batchCount }) => batchCount === undefined)).not.toEqual([])
    },
    TIMEOUT_MS,
  )

  it('opens with less than had settled if a segment of the tail vanished', async () => {
    await withDirectory(async (directory) => {
      const [live, copy] = [join(directory, 'live'), join(directory, 'copy')]
      await using store = await openStore(live, { sync: 'never' })
      // Nothing is sealed before the event loop turns.
      for (let count = 1; count <= 40; count++) store.putSync(`key ${count}`, 'x'.repeat(6000))
      cpSync(live, copy, { recursive: true })
      rmSync(join(copy, '0000000002.segment'))

      await using less = await openStore(copy)

      expect(less.get('key 1')).toBeDefined()
      expect(less.get('key 40')).toBeUndefined()
      expect(less.stats().recovery.torn).toHaveLength(2)
    })
  })
})
