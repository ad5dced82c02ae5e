import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { openCache, PersistentCache } from '../../src/cache/cache.ts'
import { hintName, parseName } from '../../src/format/names.ts'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import type { HintJob } from '../../src/segment/hint-file.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { fakeOwnTimers } from '../support/timers.ts'
import { DIRECTORY, MIB, openInMemory } from './support.ts'

const run = promisify(execFile)
const BUILT = new URL('../../dist/src/cache/cache.js', import.meta.url).href

/** A budget with segments that are large enough for hints: 256 KiB. */
const MAX_BYTES = 16 * MIB
const OPTIONS = { valueEncoding: 'utf8', maxBytes: MAX_BYTES } as const
const VALUE = 'x'.repeat(4000)

describe('the hints of a cache', () => {
  beforeEach(() => {
    fakeOwnTimers('setInterval', 'clearInterval')
  })

  it('let an open after a kill skip the values, and stay within the budget', async () => {
    const files = new FaultyFiles(1)
    let most = 0
    files.onCall = () => {
      most = Math.max(most, files.usedSize)
    }
    const cache = await openInMemory<string>(files, OPTIONS)
    for (let round = 0; round < 24; round++) {
      await fill(cache, round * 300, 300)
      await tick(cache)
    }
    const after = files.restart(2)
    const hinted = idsOf(after, 'hint')
    const before = after.calls.length

    const again = await openInMemory<string>(after, OPTIONS)

    const reads = new Map<number, number>()
    for (const { kind, path } of after.calls.slice(before)) {
      const name = parseName(path.slice(DIRECTORY.length + 1))
      if (kind !== 'read' || name.type !== 'segment') continue
      reads.set(name.id, (reads.get(name.id) ?? 0) + 1)
    }
    expect(hinted.length).toBeGreaterThan(0.8 * idsOf(after, 'segment').length)
    // Only the header of a segment is read.
    expect(hinted.map((id) => reads.get(id))).toEqual(hinted.map(() => 1))
    expect(again.stats().entries).toBeGreaterThan(3000)
    expect(again.get('key 7199')).toBe(VALUE)
    expect(most).toBeLessThanOrEqual(MAX_BYTES)
    expect(most).toBeGreaterThan(0.8 * MAX_BYTES)
    await again.close()
    await cache.close()
  })

  it('count in the budget as long as they exist, also after another open', async () => {
    let files = new FaultyFiles(1)
    let most = 0
    let hintBytes = 0
    for (let life = 0; life < 3; life++) {
      files.onCall = () => {
        most = Math.max(most, files.usedSize)
      }
      const cache = await openInMemory<string>(files, OPTIONS)
      // If values are short, hints take much of the space.
      for (let round = 0; round < 10; round++) {
        for (let index = 0; index < 5000; index++) {
          cache.set(`a key of middling length ${life} ${round} ${index}`, VALUE.slice(0, 450))
          if (index % 100 === 0) await setImmediate()
        }
        await tick(cache)
      }
      const hints = (files.list(DIRECTORY) ?? []).filter((name) => name.endsWith('.hint'))
      hintBytes = hints.reduce(
        (sum, name) => sum + (files.peek(join(DIRECTORY, name))?.length ?? 0),
        0,
      )
      expect(files.usedSize).toBeGreaterThan(0.75 * MAX_BYTES)
      if (life === 1) await cache.close()
      files = files.restart(life)
    }

    expect(hintBytes).toBeGreaterThan(0.06 * MAX_BYTES)
    expect(most).toBeLessThanOrEqual(MAX_BYTES)
    expect(most).toBeGreaterThan(0.85 * MAX_BYTES)
  })

  it('are not made if they would take more than an eighth of their segments', async () => {
    const hint = vi.fn(async () => {})
    const cache = await openWith(new FaultyFiles(1), hint)
    for (let index = 0; index < 20_000; index++) cache.set(`key ${index}`, 'x'.repeat(100))
    await tick(cache)

    expect(hint).not.toHaveBeenCalled()
    await cache.close()
  })

  it('are not kept if their keys turn out to be long, and not tried again', async () => {
    const files = new FaultyFiles(1)
    const hint = vi.fn(inProcessWork(files).hint)
    const cache = await openWith(files, hint)
    for (let index = 0; index < 2000; index++) {
      cache.set(`key ${index} ${'k'.repeat(1000)}`, VALUE.slice(0, 1000))
    }
    await tick(cache)
    await tick(cache)

    expect(hint).toHaveBeenCalledTimes(1)
    expect(hint.mock.calls[0]?.length).toBeGreaterThan(5)
    expect(idsOf(files, 'hint')).toEqual([])
    await cache.close()
  })

  it('are deleted with their segments, even while they are made, without an error', async () => {
    const files = new FaultyFiles(1)
    let letGo = (): void => undefined
    const released = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const hint = vi.fn(async (...jobs: HintJob[]) => {
      await released
      for (const { id } of jobs) files.poke(join(DIRECTORY, hintName(id)), Buffer.from('late'))
      throw new Error('A segment is missing')
    })
    const cache = await openWith(files, hint)
    const errors = listen(cache)
    await fill(cache, 0, 1000)
    await tick(cache)
    await fill(cache, 1000, 1000)
    await tick(cache)
    expect(hint).toHaveBeenCalledTimes(1)

    cache.clear()
    letGo()
    await cache.close()

    expect(idsOf(files, 'hint')).toEqual([])
    expect(errors).toEqual([])
  })

  it('are tried again if another segment was deleted while they were made', async () => {
    const files = new FaultyFiles(1)
    const real = inProcessWork(files)
    let cache: PersistentCache<string> | undefined
    const hint = vi.fn(async (...jobs: HintJob[]) => {
      if (hint.mock.calls.length > 1) return await real.hint(...jobs)
      await fill(cache, 10_000, 4000)
      throw new Error('A segment is missing')
    })
    cache = await openWith(files, hint)
    const errors = listen(cache)
    await fill(cache, 0, 3000)
    await tick(cache)
    await tick(cache)

    expect(errors).toEqual([])
    expect(hint.mock.calls.length).toBeGreaterThan(1)
    expect(idsOf(files, 'hint').length).toBeGreaterThan(0)
    await cache.close()
  })

  it('are made for the newest segments first, so a fast turnover leaves some', async () => {
    const files = new FaultyFiles(1)
    const real = inProcessWork(files)
    let cache: PersistentCache<string> | undefined
    let next = 0
    const write = async (count: number): Promise<void> => {
      await fill(cache, next, count)
      next += count
    }
    const hint = vi.fn(async (...jobs: HintJob[]) => {
      // A third of the cache is replaced while the thread starts.
      await write(1200)
      await real.hint(...jobs)
    })
    cache = await openWith(files, hint)
    const errors = listen(cache)
    await write(4000)
    for (let round = 0; round < 6; round++) {
      await write(400)
      await tick(cache)
    }

    expect(idsOf(files, 'hint').length).toBeGreaterThan(0.3 * idsOf(files, 'segment').length)
    expect(errors).toEqual([])
    await cache.close()
  })

  it('emit an error if they cannot be made, and cost no entry', async () => {
    const hint = vi.fn(async () => {
      throw new Error('There is no thread')
    })
    const cache = await openWith(new FaultyFiles(1), hint)
    const errors = listen(cache)
    await fill(cache, 0, 1000)
    await tick(cache)
    await tick(cache)

    expect(errors.map(String)).toEqual(['Error: There is no thread'])
    expect(cache.stats()).toMatchObject({ entries: 1000, emptied: 0 })
    await cache.close()
  })

  it('are made by a thread, and finished before the cache is closed', async () => {
    await withDirectory(async (directory) => {
      const cache = await openCache<string>(directory, OPTIONS)
      const errors = listen(cache)
      await fill(cache, 0, 1000)
      await tick(cache)
      await cache.close()

      const names = await readdir(directory)
      expect(names.filter((name) => name.endsWith('.hint')).length).toBeGreaterThan(10)
      expect(names.filter((name) => parseName(name).type === 'temporary')).toEqual([])
      expect(errors).toEqual([])
    })
  })
})

describe('a process', () => {
  it('stays alive while it waits for the close of a cache that makes hints', async () => {
    await withDirectory(async (directory) => {
      const code = `
        import { readdirSync } from 'node:fs'
        import { setImmediate } from 'node:timers/promises'
        import { openCache } from ${JSON.stringify(BUILT)}
        const directory = ${JSON.stringify(directory)}
        const cache = await openCache(directory, { maxBytes: 128 * 2 ** 20 })
        for (let index = 0; index < 20_000; index++) {
          cache.set('key ' + index, Buffer.alloc(4000))
          if (index % 100 === 0) await setImmediate()
        }
        while (!readdirSync(directory).some((name) => name.includes('.hint'))) await setImmediate()
        await cache.close()
        console.log('closed')
      `

      const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code])

      expect(stdout).toBe('closed\n')
    })
  })
})

async function openWith(
  files: FaultyFiles,
  hint: BackgroundWork['hint'],
): Promise<PersistentCache<string>> {
  return await PersistentCache.open<string>(
    DIRECTORY,
    { mapping: false, ...OPTIONS },
    { files, lock: false, backgroundWork: { ...inProcessWork(files), hint } },
  )
}

/** Sets keys, a hundred in each turn of the event loop. */
async function fill(
  cache: PersistentCache<string> | undefined,
  first: number,
  count: number,
): Promise<void> {
  for (let index = first; index < first + count; index++) {
    cache?.set(`key ${index}`, VALUE)
    if (index % 100 === 0) await setImmediate()
  }
}

/** Lets a second pass, and waits for the work that a cache then starts. */
async function tick(cache: PersistentCache<string>): Promise<void> {
  vi.advanceTimersByTime(1000)
  for (let turn = 0; turn < 200 && !cache.closed; turn++) await setImmediate()
}

function listen(cache: PersistentCache<string>): Error[] {
  const errors: Error[] = []
  cache.on('error', (error) => errors.push(error))
  return errors
}

/** Returns the ids of the files of one type. */
function idsOf(files: FaultyFiles, type: 'hint' | 'segment'): number[] {
  return (files.list(DIRECTORY) ?? []).flatMap((name) => {
    const parsed = parseName(name)
    return parsed.type === type ? [(parsed as { id: number }).id] : []
  })
}
