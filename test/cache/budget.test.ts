import { type ChildProcess, fork } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { MIB, openInMemory } from './support.ts'

/** How many sets the long test makes; `CACHE_SETS` overrides it. */
const SET_COUNT = Number(process.env.CACHE_SETS ?? 60_000)
const TIMEOUT_MS = Math.max(120_000, SET_COUNT)
/** The budget of the long test's cache: large enough for hints. */
const MAX_BYTES = 16 * MIB

describe('the budget of a cache', () => {
  it.each(['sieve', 'lru', 'fifo'] as const)(
    'holds after every call of the operating system, while 4 times as much is set (%s)',
    async (policy) => {
      const random = new Random(Number(process.env.SEED ?? 1))
      let files = new FaultyFiles(1)
      let most = 0
      const watch = (): void => {
        files.onCall = () => {
          most = Math.max(most, files.usedSize)
        }
      }
      watch()
      let cache = await openInMemory<string>(files, { valueEncoding: 'utf8', policy })

      for (let round = 0; round < 3; round++) {
        for (let step = 0; step < 3000; step++) {
          const key = `key ${random.below(3000)}`
          if (cache.get(key) === undefined) cache.set(key, 'x'.repeat(random.below(1000)))
          if (random.chance(0.01)) cache.set(`large ${step}`, 'x'.repeat(random.below(60_000)))
          if (random.chance(0.02)) cache.delete(key)
        }
        await Promise.resolve()
        if (round !== 1) await cache.close()
        files = files.restart(round)
        watch()
        cache = await openInMemory<string>(files, { valueEncoding: 'utf8', policy })
      }

      expect(most).toBeLessThanOrEqual(MIB)
      expect(most).toBeGreaterThan(0.8 * MIB)
      expect(cache.stats().emptied).toBe(0)
      await cache.close()
    },
  )

  it('holds for small entries, whose keys take more space than their values', async () => {
    const files = new FaultyFiles(1)
    const cache = await openInMemory<string>(files, { valueEncoding: 'utf8' })

    for (let index = 0; index < 40_000; index++) {
      cache.set(`a key of middling length ${index}`, 'v')
      if (index % 1000 === 0) expect(files.usedSize).toBeLessThanOrEqual(MIB)
    }
    await cache.close()

    expect(files.usedSize).toBeLessThanOrEqual(MIB)
    const again = await openInMemory<string>(files, { valueEncoding: 'utf8' })
    expect(again.has('a key of middling length 39999')).toBe(true)
    await again.close()
  })

  it('is kept by deleting cold segments unread, since evicted entries are not copied', async () => {
    const files = new FaultyFiles(1)
    const options = { valueEncoding: 'utf8', policy: 'fifo' } as const
    const cache = await openInMemory<string>(files, options)
    for (let index = 0; index < 8000; index++) {
      cache.set(`key ${index}`, 'x'.repeat(500))
      if (index % 100 === 0) await Promise.resolve()
    }
    await Promise.resolve()

    const segments = files.calls.filter(({ path }) => path.endsWith('.segment'))
    const count = (kind: string): number => segments.filter((call) => call.kind === kind).length
    // Four times the budget was written, and none of it was read.
    expect(count('remove')).toBeGreaterThan(50)
    expect(count('read')).toBe(0)
    expect(cache.stats().evictions.size).toBe(8000 - cache.stats().entries)
    await cache.close()
  })

  it('holds as seen from another process, across kills', { timeout: TIMEOUT_MS }, async () => {
    await withDirectory(async (directory) => {
      const random = new Random(Number(process.env.SEED ?? 1))
      let most = 0
      let killCount = 0
      for (let sets = 0; sets < SET_COUNT; killCount++) {
        const writer = new Writer(directory, random.below(2 ** 32))
        const life = SET_COUNT / 12 + random.below(SET_COUNT / 6)
        while (writer.sets < life) {
          most = Math.max(most, sizeOf(directory))
          await Promise.race([new Promise((resolve) => setImmediate(resolve)), writer.failure])
        }
        await writer.kill()
        sets += writer.sets
        most = Math.max(most, sizeOf(directory))
      }

      expect(killCount).toBeGreaterThan(3)
      expect(most).toBeLessThanOrEqual(MAX_BYTES)
      expect(most).toBeGreaterThan(0.8 * MAX_BYTES)
    })
  })
})

/** A process that sets entries until it is killed. It runs the build: Node 20 has no TypeScript. */
class Writer {
  /** How many sets it has reported. */
  sets = 0
  /** Rejects when the process ends by itself. */
  readonly failure: Promise<never>
  readonly #process: ChildProcess
  readonly #exited: Promise<void>
  #killed = false

  constructor(directory: string, seed: number) {
    const args = [directory, String(MAX_BYTES), String(seed)]
    this.#process = fork(join(import.meta.dirname, 'writer.mjs'), args)
    this.#process.on('message', (message) => {
      this.sets += (message as { sets: number }).sets
    })
    this.#exited = new Promise((resolve) => this.#process.once('exit', () => resolve()))
    this.failure = new Promise((_, reject) => {
      this.#process.once('exit', (code) => {
        if (!this.#killed) reject(new Error(`The writer ended with code ${code}`))
      })
    })
  }

  async kill(): Promise<void> {
    this.#killed = true
    this.#process.kill('SIGKILL')
    await this.#exited
  }
}

/**
 * Returns a lower bound of what a directory took at some moment during the call. Its files are
 * measured twice: a file that was there both times was, in between, at least as large as at first.
 */
function sizeOf(directory: string): number {
  const first = sizesOf(directory)
  const second = sizesOf(directory)
  let size = 0
  for (const [name, bytes] of first) if (second.has(name)) size += bytes
  return size
}

function sizesOf(directory: string): Map<string, number> {
  const sizes = new Map<string, number>()
  for (const name of readdirSync(directory)) {
    // A file may be deleted between the two calls.
    const stats = statSync(join(directory, name), { throwIfNoEntry: false })
    if (stats !== undefined) sizes.set(`${name} ${stats.ino}`, stats.size)
  }
  return sizes
}
