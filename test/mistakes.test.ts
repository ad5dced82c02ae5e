/** Mistakes of a caller: each is refused with a message that names it. */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { open, type Store, type StoreOptions } from '../src/index.ts'
import { withDirectory } from './support/directory.ts'

/** A value that a caller without types may pass. */
// biome-ignore lint/suspicious/noExplicitAny: what the types refuse is what is tested.
type Anything = any

describe("a caller's mistake", () => {
  const calls: [string, (store: Store) => unknown, string][] = [
    ['no key', (store) => store.get(undefined as Anything), 'not undefined'],
    ['a number as a key', (store) => store.has(5 as Anything), 'not a number'],
    ['an empty key', (store) => store.put('', 'value'), 'Key is empty; the least is 1 byte'],
    [
      'a key that is too long',
      (store) => store.put('k'.repeat(65_536), 'value'),
      'Key is 65536 bytes; the limit is 65535',
    ],
    ['a lone surrogate as a key', (store) => store.delete('\ud800'), 'lone surrogate'],
    [
      'a key instead of a list',
      (store) => store.getMany('abc'),
      'must be an iterable of keys, not a string',
    ],
    [
      'bytes instead of a list',
      (store) => store.getMany(Buffer.from('abc') as Anything),
      'must be an iterable of keys',
    ],
    [
      'a key instead of a list, for a snapshot',
      (store) => store.snapshot().getMany('abc'),
      'must be an iterable of keys, not a string',
    ],
    ['a number as a value', (store) => store.put('key', 5 as Anything), 'not a number'],
    [
      'an unknown option of a put',
      (store) => store.put('key', 'value', { ttl: 5 } as Anything),
      'Unknown put option ttl; did you mean ttlMs?',
    ],
    [
      'a time to live of 0',
      (store) => store.put('key', 'value', { ttlMs: 0 }),
      'Option ttlMs is 0; the least is 1',
    ],
    [
      'two times of expiry',
      (store) => store.put('key', 'value', { ttlMs: 5, expiresAt: 5 }),
      'exclude each other',
    ],
    [
      'an unknown bound',
      (store) => store.keys({ start: 'a' } as Anything),
      'Unknown range option start',
    ],
    ['a negative limit', (store) => store.keys({ limit: -1 }), 'Option limit is -1'],
    [
      'an unknown operation in a batch',
      (store) => store.batch([{ type: 'del', key: 'key' } as Anything]),
      "of type 'put' or 'delete'",
    ],
    [
      'an operation instead of a list',
      (store) => store.batch({ type: 'delete', key: 'key' } as Anything),
      'The operations of a batch must be an iterable',
    ],
    ['null as operations', (store) => store.batch(null as Anything), 'must be an iterable'],
    ['a backup to nowhere', (store) => store.backup(undefined as Anything), 'it must be a path'],
    [
      'an unknown option of a merge',
      (store) => store.merge({ dry: true } as Anything),
      'Unknown merge option dry',
    ],
    ['a refresh by the writer', (store) => store.refresh(), 'opened with readOnly'],
  ]

  it.each(calls)('is refused and changes nothing: %s', async (_, call, message) => {
    await withDirectory(async (directory) => {
      await using store = await open(directory)
      await store.put('key', 'before')

      const outcome = await attempt(() => call(store))

      expect(outcome).toBeInstanceOf(Error)
      expect(['TypeError', 'RangeError']).toContain((outcome as Error).name)
      expect((outcome as Error).message).toContain(message)
      expect([...store.entries()]).toEqual([['key', Buffer.from('before')]])
    })
  })

  const options: [Anything, string][] = [
    [5, 'Options must be an object'],
    [{ snyc: 'always' }, 'Unknown option snyc; did you mean sync?'],
    [
      { sync: 'allways' },
      'Option sync is allways; it must be one of always, interval, never, or an object',
    ],
    [{ sync: {} }, 'needs one of everyWrites, everyBytes, everyMs'],
    [{ sync: { everyWrites: 0 } }, 'Option sync.everyWrites is 0'],
    [{ merge: false }, 'Option merge must be an object'],
    [{ merge: { auto: true } }, 'Unknown merge option auto'],
    [{ merge: { window: [1, 25] } }, 'Option merge.window is 25; it must be from 0 to 24'],
    [{ merge: { triggerDeadRatio: 0.1 } }, 'merge.thresholdDeadRatio is above'],
    [{ keydir: 'map' }, 'Option keydir is map; it must be one of btree, hash'],
    [{ valueEncoding: 'string' }, 'Option valueEncoding is string; it must be one of buffer'],
    [{ valueEncoding: { encode: String } }, 'Option valueEncoding.decode must be a function'],
    [{ follow: true }, 'Option follow needs readOnly'],
    [{ readOnly: 'yes' }, 'Option readOnly must be a boolean'],
    [{ maxSegmentBytes: 5 }, 'Option maxSegmentBytes is 5; it must be from 65536 to 1073741824'],
  ]

  it.each(options)(
    'in the options is refused before a file is touched: %j',
    async (input, message) => {
      await withDirectory(async (directory) => {
        const path = join(directory, 'store')

        const outcome = await attempt(() => open(path, input as StoreOptions))

        expect((outcome as Error).message).toContain(message)
        await expect(open(path, { createIfMissing: false })).rejects.toMatchObject({
          code: 'FIRKIN_NOT_FOUND',
        })
      })
    },
  )

  it.each([undefined, null, '', 5, 'a\0b', ['a'], new URL('https://a.org/data')])(
    'in the path is refused: %s',
    async (path) => {
      await expect(open(path as Anything)).rejects.toThrow('it must be a path or a file: URL')
    },
  )
})

/** Returns what a call throws or rejects with, or else what it returns. */
async function attempt(call: () => unknown): Promise<unknown> {
  try {
    return await call()
  } catch (error) {
    return error
  }
}
