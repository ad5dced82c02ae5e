import diagnostics from 'node:diagnostics_channel'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { CacheMessage, CacheOptions, PersistentCache } from '../../src/cache/cache.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { fakeOwnTimers } from '../support/timers.ts'
import { Clock, openInMemory } from './support.ts'

const TEXT = { valueEncoding: 'utf8' } as const
const CHANNEL = 'firkin-cache:operations'

/** Returns what `use` threw; fails the test if it threw nothing. */
function thrownBy(use: () => unknown): unknown {
  try {
    use()
  } catch (error) {
    return error
  }
  throw new Error('Nothing was thrown')
}

function listen<V>(cache: PersistentCache<V>): Error[] {
  const errors: Error[] = []
  cache.on('error', (error) => errors.push(error))
  return errors
}

describe('a listener of a cache', () => {
  it.each(['delete', 'set', 'clear', 'invalidateTags'] as const)(
    'may call %s when an entry leaves',
    async (method) => {
      const cache = await openInMemory<string>(undefined, { ...TEXT, maxEntries: 20 })
      const errors = listen(cache)
      let left = 0
      cache.on('evict', (key) => {
        left++
        if (method === 'delete') cache.delete(`key ${left % 30}`)
        else if (method === 'set') left < 50 && cache.set(key, 'again')
        else if (method === 'clear') cache.clear()
        else cache.invalidateTags('a')
      })

      for (let index = 0; index < 200; index++) {
        cache.set(`key ${index}`, 'x'.repeat(5000), { tags: ['a'] })
        if (index % 3 === 0) await Promise.resolve()
      }
      await Promise.resolve()

      expect(left).toBeGreaterThan(5)
      expect(errors).toEqual([])
      expect(cache.stats().emptied).toBe(0)
      await cache.close()
    },
  )

  it('is called after the operation, in the order in which things happened', async () => {
    const cache = await openInMemory<string>(undefined, { ...TEXT, maxEntries: 1 })
    const reported: string[] = []
    const hear = (message: unknown): void => {
      const { cache: directory, operation, key } = message as CacheMessage
      if (directory === cache.directory) reported.push(`${operation} ${key}`)
    }
    cache.on('evict', (key) => reported.push(`gone ${key}`))
    diagnostics.subscribe(CHANNEL, hear)

    cache.set('a', '1')
    cache.set('b', '2')

    expect(reported).toEqual([])
    await Promise.resolve()
    diagnostics.unsubscribe(CHANNEL, hear)
    expect(reported).toEqual(['set a', 'evict a', 'gone a', 'set b'])
    await cache.close()
  })

  describe('that throws', () => {
    const uncaught = (): unknown[] => {
      const thrown: unknown[] = []
      const before = process.listeners('uncaughtException')
      process.removeAllListeners('uncaughtException')
      process.on('uncaughtException', (error) => thrown.push(error))
      restore = () => {
        process.removeAllListeners('uncaughtException')
        for (const listener of before) process.on('uncaughtException', listener)
      }
      return thrown
    }
    let restore = (): void => undefined
    afterEach(() => restore())

    it('bypasses the cache, which goes on and calls it for the next events', async () => {
      const thrown = uncaught()
      const cache = await openInMemory<string>(undefined, { ...TEXT, maxEntries: 2 })
      const errors = listen(cache)
      const gone: string[] = []
      cache.on('evict', (key) => {
        gone.push(key)
        throw new Error(`a listener, called for ${key}`)
      })

      for (let index = 0; index < 5; index++) expect(cache.set(`key ${index}`, 'v')).toBe(true)
      await vi.waitFor(() => expect(thrown).toHaveLength(3))

      expect(gone).toEqual(['key 0', 'key 1', 'key 2'])
      expect(thrown.map(String)).toEqual(gone.map((key) => `Error: a listener, called for ${key}`))
      expect(errors).toEqual([])
      expect(cache.get('key 4')).toBe('v')
      expect(cache.stats()).toMatchObject({ entries: 2, emptied: 0 })
      await cache.close()
    })
  })
})

describe('a decoder of a cache', () => {
  const refusing = {
    encode: (value: string) => value,
    decode: (bytes: Buffer) => {
      if (String(bytes) === 'bad') throw new RangeError('not to be decoded')
      return String(bytes)
    },
  }

  it.each([false, true])(
    'makes a miss of a value that it throws for, and of no other (strict: %s)',
    async (strict) => {
      const cache = await openInMemory<string>(undefined, { valueEncoding: refusing, strict })
      const errors = listen(cache)
      const gone: string[] = []
      cache.on('evict', (key, cause) => gone.push(`${key}: ${cause}`))
      for (let index = 0; index < 1000; index++)
        cache.set(`key ${index}`, index === 7 ? 'bad' : 'v')

      expect(cache.get('key 7')).toBeUndefined()
      await Promise.resolve()

      expect(errors.map((error) => [error.message, error.cause])).toEqual([
        ['The value of "key 7" cannot be decoded: not to be decoded', expect.any(RangeError)],
      ])
      expect(errors[0]).toMatchObject({ code: 'FIRKIN_DECODE_FAILED' })
      expect(gone).toEqual(['key 7: undecodable'])
      expect(cache.has('key 7')).toBe(false)
      expect(cache.stats()).toMatchObject({
        entries: 999,
        misses: 1,
        emptied: 0,
        evictions: { undecodable: 1 },
      })
      expect(await cache.getOrSet('key 7', () => 'loaded')).toBe('loaded')
      expect(cache.get('key 7')).toBe('loaded')
      expect(cache.get('key 8')).toBe('v')
      await cache.close()
    },
  )

  it('makes getOrSet load a value that it throws for', async () => {
    const cache = await openInMemory<string>(undefined, { valueEncoding: refusing })
    listen(cache)
    cache.set('key', 'bad')

    expect(await cache.getOrSet('key', () => 'loaded')).toBe('loaded')
    expect(cache.get('key')).toBe('loaded')
    await cache.close()
  })

  it('keeps what it sets itself before it throws', async () => {
    const cache: PersistentCache<string> = await openInMemory<string>(undefined, {
      valueEncoding: {
        encode: (value) => value,
        decode: (bytes) => {
          if (String(bytes) !== 'bad') return String(bytes)
          cache.set('key', 'mended')
          throw new Error('not to be decoded')
        },
      },
    })
    listen(cache)
    cache.set('key', 'bad')

    expect(cache.get('key')).toBeUndefined()

    expect(cache.get('key')).toBe('mended')
    await cache.close()
  })
})

describe('an encoder of a cache', () => {
  it.each(['toJSON', 'encode'])(
    'may call the cache from %s, and the last set wins',
    async (which) => {
      let during = (): void => undefined
      const value = {
        toJSON: () => {
          during()
          return 'outer'
        },
      }
      const options: Partial<CacheOptions<unknown>> =
        which === 'toJSON'
          ? { valueEncoding: 'json' }
          : {
              valueEncoding: {
                encode: (each) => JSON.stringify(each),
                decode: (bytes) => JSON.parse(String(bytes)),
              },
            }
      const cache = await openInMemory<unknown>(undefined, { ...options, maxEntries: 3 })
      during = () => {
        during = () => undefined
        cache.set('key', 'inner')
        cache.set('other', 'value')
        cache.clear()
        cache.set('third', 'value')
      }

      expect(cache.set('key', value)).toBe(true)

      expect(cache.get('key')).toBe('outer')
      expect(cache.get('other')).toBeUndefined()
      expect(cache.get('third')).toBe('value')
      await cache.close()
    },
  )

  it('does not bring back a loaded value that was deleted while it was encoded', async () => {
    const cache = await openInMemory<unknown>(undefined, { valueEncoding: 'json' })

    const loaded = await cache.getOrSet('key', () => ({
      toJSON: () => String(cache.delete('key')),
    }))

    expect(loaded).toHaveProperty('toJSON')
    expect(cache.get('key')).toBeUndefined()
    await cache.close()
  })

  it('rejects for callers that wait for a load, and emits an error if there are none', async () => {
    const clock = new Clock()
    const cache = await openInMemory<unknown>(undefined, {
      valueEncoding: 'json',
      clock: clock.read,
    })
    const errors = listen(cache)
    const refusing = {
      toJSON: () => {
        throw new Error('no JSON')
      },
    }

    expect(String(thrownBy(() => cache.set('key', refusing)))).toBe('Error: no JSON')
    await expect(cache.getOrSet('key', () => refusing, { errorTtlMs: 1000 })).rejects.toThrow(
      'no JSON',
    )
    expect(errors).toEqual([])
    cache.set('stale', 'old', { ttlMs: 10, staleMs: 100 })
    clock.now += 20
    expect(await cache.getOrSet('stale', () => refusing)).toBe('old')
    await vi.waitFor(() => expect(errors.map(String)).toEqual(['Error: no JSON']))

    expect(cache.stats()).toMatchObject({ emptied: 0, loads: { failed: 0, started: 2 } })
    await cache.close()
  })
})

describe('a loader of a cache', () => {
  it('does not overwrite its key if it sets that before it returns', async () => {
    const cache = await openInMemory<string>(undefined, TEXT)

    const loaded = await cache.getOrSet('key', () => {
      cache.set('key', 'set by the loader')
      return 'loaded'
    })

    expect(loaded).toBe('loaded')
    expect(cache.get('key')).toBe('set by the loader')
    await cache.close()
  })

  it.each([
    ['an object without a prototype', Object.create(null)],
    ['a symbol', Symbol('odd')],
    ['undefined', undefined],
    ['a cyclic object', cyclic()],
    ['a revoked proxy', revoked()],
    ['an error whose message is not a string', Object.assign(new Error(), { message: cyclic() })],
    ['an error whose message throws', throwing('message')],
    ['an error whose name throws', throwing('name')],
    ['an error whose code throws', throwing('code')],
    [
      'an object whose toString throws',
      {
        toString: () => {
          throw new Error('no text')
        },
      },
    ],
  ])('may throw %s, which is thrown to the caller, and kept as an error', async (_, odd) => {
    const cache = await openInMemory<string>(undefined, TEXT)
    const errors = listen(cache)
    let count = 0
    const load = (): string => {
      count++
      throw odd
    }

    const first = await cache.getOrSet('key', load, { errorTtlMs: 1000 }).then(
      () => undefined,
      (error) => ({ error }),
    )
    const again = cache.getOrSet('key', load, { errorTtlMs: 1000 })

    await expect(again).rejects.toBeInstanceOf(Error)
    expect(Object.is(first?.error, odd)).toBe(true)
    expect(count).toBe(1)
    expect(errors).toEqual([])
    expect(cache.stats()).toMatchObject({ emptied: 0, loads: { failed: 1 } })
    await cache.close()
  })
})

describe('a clock of a cache', () => {
  it('that throws makes the call throw, and nothing changes', async () => {
    const clock = new Clock()
    let broken = false
    const cache = await openInMemory<string>(undefined, {
      ...TEXT,
      clock: () => {
        if (broken) throw new Error('no time')
        return clock.now
      },
    })
    const errors = listen(cache)
    cache.set('key', 'value', { ttlMs: 1000 })

    broken = true
    for (const use of [
      () => cache.get('key'),
      () => cache.peek('key'),
      () => cache.has('key'),
      () => cache.set('key', 'other', { ttlMs: 1000 }),
      () => cache.set('key', 'other'),
      () => cache.delete('key'),
      () => cache.invalidateTags('a'),
    ]) {
      expect(String(thrownBy(use))).toBe('Error: no time')
    }
    await expect(cache.getOrSet('key', () => 'loaded')).rejects.toThrow('no time')
    broken = false

    expect(cache.get('key')).toBe('value')
    expect(errors).toEqual([])
    expect(cache.stats()).toMatchObject({ entries: 1, emptied: 0, sets: 1, deletes: 0 })
    await cache.close()
  })

  it('that throws while no caller waits emits an error, and the cache goes on', async () => {
    fakeOwnTimers('setInterval', 'clearInterval')
    let broken = false
    const files = new FaultyFiles(1)
    const clock = (): number => {
      if (broken) throw new Error('no time')
      return 1_000_000
    }
    const cache = await openInMemory<string>(files, { ...TEXT, clock })
    const errors = listen(cache)
    cache.set('key', 'value', { ttlMs: 1000 })

    broken = true
    vi.advanceTimersByTime(1000)
    await Promise.resolve()
    expect(errors.map(String)).toEqual(['Error: no time'])
    await cache.close()
    broken = false

    expect(errors.map(String)).toEqual(['Error: no time', 'Error: no time'])
    const again = await openInMemory<string>(files, { ...TEXT, clock })
    expect(again.get('key')).toBe('value')
    await again.close()
  })

  it('that throws at open makes it reject, and leaves the cache as it was', async () => {
    const files = new FaultyFiles(1)
    const first = await openInMemory<string>(files, TEXT)
    first.set('key', 'value')
    await first.close()
    const clock = (): number => {
      throw new Error('no time')
    }

    await expect(openInMemory<string>(files, { ...TEXT, clock })).rejects.toThrow('no time')

    const again = await openInMemory<string>(files, TEXT)
    expect(again.get('key')).toBe('value')
    await again.close()
  })

  it('may call the cache', async () => {
    let during = (): void => undefined
    const cache = await openInMemory<string>(undefined, {
      ...TEXT,
      maxEntries: 2,
      clock: () => {
        const now = during
        during = () => undefined
        now()
        return 1_000_000
      },
    })
    cache.set('key', 'old', { ttlMs: 1000 })

    during = () => void cache.set('key', 'by the clock')
    expect(cache.get('key')).toBe('by the clock')
    cache.set('key', 'old', { ttlMs: 1000 })
    during = () => void cache.clear()
    expect(cache.get('key')).toBeUndefined()
    during = () => void cache.set('key', 'by the clock', { ttlMs: 1000 })
    cache.set('key', 'new', { ttlMs: 1000 })
    expect(cache.get('key')).toBe('new')
    await cache.close()
  })
})

function cyclic(): object {
  const object: Record<string, unknown> = {}
  object.self = object
  return object
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function throwing(name: string): Error {
  return Object.defineProperty(new Error('odd'), name, {
    get: () => {
      throw new Error(`no ${name}`)
    },
  })
}
