import { type ChildProcess, fork } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { MIB, openInMemory } from './support.ts'

describe('the budget of a cache', () => {
  it.each(['sieve', 'lru', 'fifo'] as const)(
    'holds after every call of the operating system, at 4 times as much (%s)',
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

  it('holds for small entries, whose keys take more than they do', async () => {
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

  it('holds as seen from another process, across kills', async () => {
    await withDirectory(async (directory) => {
      const maxBytes = 4 * MIB
      let most = 0
      for (let round = 0; round < 4; round++) {
        const writer = await startWriter(directory, maxBytes)
        const endsAt = Date.now() + 1500
        while (Date.now() < endsAt) {
          most = Math.max(most, sizeOf(directory))
          await new Promise((resolve) => setImmediate(resolve))
        }
        await kill(writer)
        most = Math.max(most, sizeOf(directory))
      }

      expect(most).toBeLessThanOrEqual(maxBytes)
      expect(most).toBeGreaterThan(0.8 * maxBytes)
    })
  })
})

/** Starts a process that sets without end. It runs the build, since Node 20 reads no TypeScript. */
function startWriter(directory: string, maxBytes: number): Promise<ChildProcess> {
  const writer = fork(join(import.meta.dirname, 'writer.mjs'), [directory, String(maxBytes)])
  return new Promise((resolve, reject) => {
    writer.once('message', () => resolve(writer))
    writer.once('error', reject)
    writer.once('exit', (code) => reject(new Error(`The writer ended with code ${code}`)))
  })
}

function kill(writer: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    writer.removeAllListeners('exit')
    writer.once('exit', () => resolve())
    writer.kill('SIGKILL')
  })
}

function sizeOf(directory: string): number {
  let size = 0
  for (const name of readdirSync(directory)) {
    // A file may go between the two calls.
    size += statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0
  }
  return size
}
