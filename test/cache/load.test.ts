import { tracingChannel } from 'node:diagnostics_channel'
import { describe, expect, it, vi } from 'vitest'
import type { CacheOptions, PersistentCache } from '../../src/cache/cache.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { Clock, openInMemory } from './support.ts'

/** A loader; the test settles its loads. */
class Source {
  readonly signals: AbortSignal[] = []
  readonly #waiting: { resolve(value: string): void; reject(error: Error): void }[] = []

  readonly load = (signal: AbortSignal): Promise<string> => {
    this.signals.push(signal)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      signal.addEventListener('abort', () => reject(signal.reason))
    })
  }

  get count(): number {
    return this.signals.length
  }

  give(value: string): void {
    this.#waiting.shift()?.resolve(value)
  }

  fail(message: string): void {
    this.#waiting.shift()?.reject(Object.assign(new TypeError(message), { code: 'E_LOAD' }))
  }
}

async function withCache(
  use: (cache: PersistentCache<string>, source: Source, clock: Clock) => Promise<void>,
  options: Partial<CacheOptions<string>> = {},
): Promise<void> {
  const clock = new Clock()
  const cache = await openInMemory<string>(undefined, {
    valueEncoding: 'utf8',
    clock: clock.read,
    ...options,
  })
  try {
    await use(cache, new Source(), clock)
  } finally {
    await cache.close()
  }
}

describe('getOrSet', () => {
  it('refuses an invalid loader or option', async () => {
    await withCache(async (cache) => {
      await expect(cache.getOrSet('key', 1 as never)).rejects.toThrow('A loader must be a function')
      const wrong = cache.getOrSet('key', () => 'v', { tll: 1 } as never)
      await expect(wrong).rejects.toThrow('Unknown load option tll')
    })
  })

  it('loads once for all concurrent callers, and keeps the value', async () => {
    await withCache(async (cache, source) => {
      const asked = [1, 2, 3].map(() => cache.getOrSet('key', source.load))
      const other = cache.getOrSet('other', () => 'its own')

      source.give('value')

      expect(await Promise.all(asked)).toEqual(['value', 'value', 'value'])
      expect(await other).toBe('its own')
      expect(await cache.getOrSet('key', source.load)).toBe('value')
      expect(source.count).toBe(1)
      expect(cache.stats()).toMatchObject({
        hits: 1,
        misses: 4,
        loads: { started: 2, shared: 2, running: 0, failed: 0 },
      })
    })
  })

  it('adds one listener to a signal of many callers, and removes it after the last', async () => {
    await withCache(async (cache, source) => {
      const controller = new AbortController()
      const { signal } = controller
      const added = vi.spyOn(signal, 'addEventListener')
      const removed = vi.spyOn(signal, 'removeEventListener')
      const asked = Array.from({ length: 50 }, (_, index) =>
        cache.getOrSet(`key ${index % 25}`, source.load, { signal }),
      )
      for (let index = 0; index < 25; index++) source.give('value')

      expect(new Set(await Promise.all(asked))).toEqual(new Set(['value']))
      expect(added).toHaveBeenCalledTimes(1)
      expect(removed).toHaveBeenCalledTimes(1)

      const late = [1, 2, 3].map((key) => cache.getOrSet(`late ${key}`, source.load, { signal }))
      const settled = Promise.allSettled(late)
      controller.abort(new Error('enough'))
      for (const each of await settled)
        expect(each).toMatchObject({ reason: { message: 'enough' } })
      expect(added).toHaveBeenCalledTimes(2)
      expect(source.signals.slice(-3).every((its) => its.aborted)).toBe(true)
    })
  })

  it('throws what the loader throws to all callers, and then tries again', async () => {
    await withCache(async (cache, source) => {
      const asked = [1, 2].map(() => cache.getOrSet('key', source.load))
      source.fail('no')

      for (const each of asked) await expect(each).rejects.toThrow('no')
      const again = cache.getOrSet('key', source.load)
      source.give('value')

      expect(await again).toBe('value')
      expect(cache.stats().loads).toMatchObject({ started: 2, failed: 1 })
    })
  })

  it('keeps a failure for errorTtlMs, with its name, message and code', async () => {
    await withCache(async (cache, source, clock) => {
      const options = { errorTtlMs: 100 }
      const first = cache.getOrSet('key', source.load, options)
      source.fail('no')
      await expect(first).rejects.toThrow('no')

      clock.now += 99
      await expect(cache.getOrSet('key', source.load, options)).rejects.toMatchObject({
        name: 'TypeError',
        message: 'no',
        code: 'E_LOAD',
      })
      expect(cache.get('key')).toBeUndefined()
      expect(cache.has('key')).toBe(false)
      expect(source.count).toBe(1)
      clock.now += 1
      const second = cache.getOrSet('key', source.load, options)
      source.give('value')

      expect(await second).toBe('value')
    })
  })

  it('returns a stale value at once, and reloads it in the background, once', async () => {
    await withCache(async (cache, source, clock) => {
      const options = { ttlMs: 100, staleMs: 50 }
      const first = cache.getOrSet('key', source.load, options)
      source.give('old')
      await first

      clock.now += 100
      expect(cache.get('key')).toBeUndefined()
      expect(await cache.getOrSet('key', source.load, options)).toBe('old')
      expect(await cache.getOrSet('key', source.load, options)).toBe('old')
      expect(source.count).toBe(2)
      source.give('new')
      await vi.waitFor(() => expect(cache.get('key')).toBe('new'))

      expect(cache.stats()).toMatchObject({ staleHits: 2, loads: { started: 2 } })
    })
  })

  it('waits for the load if the value is past its staleMs', async () => {
    await withCache(async (cache, source, clock) => {
      cache.set('key', 'old', { ttlMs: 100, staleMs: 50 })

      clock.now += 150
      const asked = cache.getOrSet('key', source.load)
      source.give('new')

      expect(await asked).toBe('new')
    })
  })

  it('goes on returning a stale value if its reload fails, and keeps no failure', async () => {
    await withCache(async (cache, source, clock) => {
      const options = { errorTtlMs: 1000 }
      cache.set('key', 'old', { ttlMs: 100, staleMs: 500 })
      clock.now += 100

      expect(await cache.getOrSet('key', source.load, options)).toBe('old')
      source.fail('no')
      await vi.waitFor(() => expect(cache.stats().loads.failed).toBe(1))

      expect(await cache.getOrSet('key', source.load, options)).toBe('old')
      source.give('new')
    })
  })

  it('keeps a failure in place of a stale value that is invalidated meanwhile', async () => {
    await withCache(
      async (cache, source, clock) => {
        const options = { errorTtlMs: 1000 }
        const tag = 't'.repeat(250)
        cache.set('key', 'old', { ttlMs: 100, staleMs: 500, tags: [tag] })
        clock.now += 100
        expect(await cache.getOrSet('key', source.load, options)).toBe('old')

        cache.invalidateTags(tag)
        source.fail('no'.repeat(50))
        await vi.waitFor(() => expect(cache.stats().loads.failed).toBe(1))

        await expect(cache.getOrSet('key', source.load, options)).rejects.toThrow('nono')
        expect(source.count).toBe(1)
      },
      { maxEntryBytes: 400 },
    )
  })

  it('aborts only a load that nobody waits for any longer', async () => {
    await withCache(async (cache, source) => {
      const [one, two] = [new AbortController(), new AbortController()]
      const asked = [one, two].map(({ signal }) => cache.getOrSet('key', source.load, { signal }))

      one.abort(new Error('first gives up'))
      await expect(asked[0]).rejects.toThrow('first gives up')
      expect(source.signals[0]?.aborted).toBe(false)
      two.abort(new Error('second gives up'))
      await expect(asked[1]).rejects.toThrow('second gives up')

      expect(source.signals[0]?.aborted).toBe(true)
      await vi.waitFor(() => expect(cache.stats().loads).toMatchObject({ aborted: 1, running: 0 }))
      const again = cache.getOrSet('key', source.load)
      expect(source.count).toBe(2)
      source.give('late')
      source.give('value')
      expect(await again).toBe('value')
    })
  })

  it('finishes a load that a caller without a signal waits for', async () => {
    await withCache(async (cache, source) => {
      const patient = cache.getOrSet('key', source.load)
      const controller = new AbortController()
      const hasty = cache.getOrSet('key', source.load, { signal: controller.signal })
      controller.abort(new Error('enough'))

      await expect(hasty).rejects.toThrow('enough')
      expect(source.signals[0]?.aborted).toBe(false)
      source.give('value')

      expect(await patient).toBe('value')
    })
  })

  it('rejects at once if the signal has already fired', async () => {
    await withCache(async (cache, source) => {
      const signal = AbortSignal.abort(new Error('before'))

      await expect(cache.getOrSet('key', source.load, { signal })).rejects.toThrow('before')

      expect(source.count).toBe(0)
      cache.set('key', 'value')
      expect(await cache.getOrSet('key', source.load, { signal })).toBe('value')
    })
  })

  it('does not share an aborted load that has not ended yet', async () => {
    await withCache(async (cache, source) => {
      const controller = new AbortController()
      const never = new Promise<string>(() => undefined)
      const first = cache.getOrSet('key', () => never, { signal: controller.signal })
      controller.abort(new Error('enough'))
      await expect(first).rejects.toThrow('enough')

      const second = cache.getOrSet('key', source.load)
      source.give('value')

      expect(await second).toBe('value')
      expect(cache.stats().loads.shared).toBe(0)
    })
  })

  it.each([
    ['set', (cache: PersistentCache<string>) => void cache.set('key', 'set'), 'set'],
    ['deleted', (cache: PersistentCache<string>) => void cache.delete('key'), undefined],
    ['cleared', (cache: PersistentCache<string>) => cache.clear(), undefined],
    ['invalidated', (cache: PersistentCache<string>) => cache.invalidateTags('t'), undefined],
  ])('does not keep what it loads if the key is %s meanwhile', async (_, change, left) => {
    await withCache(async (cache, source) => {
      const asked = cache.getOrSet('key', source.load, { tags: ['t'] })

      change(cache)
      source.give('old')

      expect(await asked).toBe('old')
      expect(cache.get('key')).toBe(left)
    })
  })

  it('begins another load if the key was deleted during the first', async () => {
    await withCache(async (cache, source) => {
      const before = cache.getOrSet('key', source.load)
      cache.delete('key')
      const after = cache.getOrSet('key', source.load)

      source.give('old')
      source.give('new')

      expect(await Promise.all([before, after])).toEqual(['old', 'new'])
      expect(cache.get('key')).toBe('new')
    })
  })

  it('begins another load if one of its tags was invalidated during the first', async () => {
    await withCache(async (cache, source) => {
      const options = { tags: ['a', 'b'] }
      const before = cache.getOrSet('key', source.load, options)
      cache.invalidateTags('other')
      const same = cache.getOrSet('key', source.load, options)
      cache.invalidateTags('b')
      const after = cache.getOrSet('key', source.load, options)

      source.give('old')
      expect(await Promise.all([before, same])).toEqual(['old', 'old'])
      expect(cache.get('key')).toBeUndefined()
      source.give('new')

      expect(await after).toBe('new')
      expect(cache.get('key')).toBe('new')
      expect(source.count).toBe(2)
    })
  })

  it('shares a load even without a directory', async () => {
    const files = new FaultyFiles(1)
    files.fail({ kinds: ['makeDirectory'], nth: 1, code: 'EACCES', lasting: true })
    const cache = await openInMemory<string>(files, { valueEncoding: 'utf8' })
    cache.on('error', () => {})
    const source = new Source()
    const asked = [1, 2].map(() => cache.getOrSet('key', source.load))
    source.give('value')

    expect(await Promise.all(asked)).toEqual(['value', 'value'])
    expect(source.count).toBe(1)
    await cache.close()
  })

  it('returns undefined if the loader does, and does not keep it', async () => {
    await withCache(async (cache) => {
      let count = 0
      const load = () => {
        count++
        return undefined as never
      }

      expect(await cache.getOrSet('key', load)).toBeUndefined()
      expect(await cache.getOrSet('key', load)).toBeUndefined()

      expect(count).toBe(2)
    })
  })

  it('reloads early, the likelier the nearer the end, and returns the old value', async () => {
    await withCache(
      async (cache, source, clock) => {
        const random = vi.spyOn(Math, 'random')
        const beganAt = performance.now()
        const time = vi.spyOn(performance, 'now').mockReturnValue(beganAt)
        const options = { ttlMs: 10_000 }
        const first = cache.getOrSet('key', source.load, options)
        // The load takes a second.
        time.mockReturnValue(beganAt + 1000)
        source.give('old')
        await first
        time.mockRestore()

        // 1000 ms times -ln(0.5) is 693 ms.
        random.mockReturnValue(0.5)
        clock.now += 9300
        expect(await cache.getOrSet('key', source.load, options)).toBe('old')
        expect(source.count).toBe(1)
        clock.now += 20
        expect(await cache.getOrSet('key', source.load, options)).toBe('old')
        expect(source.count).toBe(2)

        source.give('new')
        await vi.waitFor(() => expect(cache.get('key')).toBe('new'))
        random.mockRestore()
      },
      { earlyRefresh: 1 },
    )
  })

  it('traces its loads', async () => {
    await withCache(async (cache) => {
      const messages: string[] = []
      const channel = tracingChannel<unknown, { key: string }>('firkin-cache:load')
      const subscribers = {
        start: ({ key }: { key: string }) => void messages.push(`start ${key}`),
        end: () => undefined,
        asyncStart: () => undefined,
        asyncEnd: ({ key }: { key: string }) => void messages.push(`end ${key}`),
        error: ({ error }: { error: unknown }) => void messages.push(String(error)),
      }
      channel.subscribe(subscribers)

      await cache.getOrSet('good', () => 'value')
      await cache.getOrSet('bad', () => Promise.reject(new Error('no'))).catch(() => undefined)
      channel.unsubscribe(subscribers)
      await cache.getOrSet('unheard', () => 'value')

      expect(messages).toEqual(['start good', 'end good', 'start bad', 'Error: no', 'end bad'])
    })
  })
})

describe('memoize', () => {
  it('caches what a call returns, by the key of its arguments', async () => {
    await withCache(async (cache, _, clock) => {
      const calls: unknown[] = []
      const add = cache.memoize(
        async (a: number, b: number) => {
          calls.push([a, b])
          return String(a + b)
        },
        { key: (a, b) => `add ${a} ${b}`, ttlMs: 100 },
      )

      expect(await Promise.all([add(1, 2), add(1, 2), add(2, 2)])).toEqual(['3', '3', '4'])
      expect(await add(1, 2)).toBe('3')
      expect(calls).toEqual([
        [1, 2],
        [2, 2],
      ])
      clock.now += 100
      await add(1, 2)

      expect(calls).toHaveLength(3)
    })
  })

  it('refuses invalid options', async () => {
    await withCache(async (cache) => {
      expect(() => cache.memoize(() => 'v', {} as never)).toThrow('Option key must be a function')
      expect(() => cache.memoize(() => 'v', { key: () => 'k', ttl: 1 } as never)).toThrow(
        'Unknown memoize option ttl',
      )
    })
  })
})
