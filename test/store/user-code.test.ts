/** User code that calls the store in the middle of an operation: codecs, clocks and toJSON. */

import { describe, expect, it } from 'vitest'
import type { Key } from '../../src/engine/encoding.ts'
import { systemFiles } from '../../src/io/files.ts'
import { Store } from '../../src/store/store.ts'
import { withDirectory } from '../support/directory.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { Random } from '../support/random.ts'
import { openAny, openStore, withCode } from '../support/store.ts'

const SEED = Number(process.env.SEED ?? 1)

interface User {
  readonly name: string
  toJSON?(): unknown
}

describe('a codec that adds to the batch that it encodes for', () => {
  it('stores each value under its own key', async () => {
    await withDirectory(async (directory) => {
      let batch: { put(key: Key, value: User): unknown } | undefined
      await using store = await openAny<User>(directory, {
        valueEncoding: {
          encode(user) {
            if (!user.name.startsWith('index')) batch?.put(`index:${user.name}`, { name: 'index' })
            return JSON.stringify(user)
          },
          decode: (bytes) => JSON.parse(bytes.toString()),
        },
      })
      const filled = store.batch()
      batch = filled

      await filled.put('user:7', { name: 'Ada' }).commit()

      expect([...store.entries()]).toEqual([
        ['index:Ada', { name: 'index' }],
        ['user:7', { name: 'Ada' }],
      ])
    })
  })

  it('stores each value under its own key if it is a toJSON', async () => {
    await withDirectory(async (directory) => {
      await using store = await openAny<User>(directory, { valueEncoding: 'json' })
      const batch = store.batch()
      const ada: User = {
        name: 'Ada',
        toJSON() {
          batch.put('index:Ada', { name: 'index' })
          return { name: 'Ada' }
        },
      }

      await batch.put('user:7', ada).commit()

      expect(store.get('user:7')).toEqual({ name: 'Ada' })
      expect(store.get('index:Ada')).toEqual({ name: 'index' })
    })
  })

  it('stores each value under its own key if it is a clock', async () => {
    await withDirectory(async (directory) => {
      let onLook = (): void => {}
      await using store = await openStore(directory, {
        ttlMs: 1000,
        clock() {
          const work = onLook
          onLook = () => {}
          work()
          return 5
        },
      })
      const batch = store.batch()
      onLook = () => void batch.put('index', 'of Ada')

      await batch.put('user:7', 'Ada').commit()

      expect([...store.entries()]).toEqual([
        ['index', 'of Ada'],
        ['user:7', 'Ada'],
      ])
    })
  })

  it('makes the put fail that it encodes for if it commits the batch', async () => {
    await withDirectory(async (directory) => {
      let commit: (() => void) | undefined
      await using store = await openAny<string>(directory, {
        valueEncoding: {
          encode(text) {
            if (text === 'outer') commit?.()
            return text
          },
          decode: String,
        },
      })
      const batch = store.batch().put('before', '1')
      commit = () => batch.commitSync()

      expect(() => batch.put('key', 'outer')).toThrow(withCode('FIRKIN_CLOSED'))

      expect([...store.keys()]).toEqual(['before'])
    })
  })
})

describe('a clock that reads and writes', () => {
  it.each(['get', 'has', 'expiresAt', 'delete', 'deleteSync'] as const)(
    'does not change the key that %s uses',
    async (method) => {
      await withDirectory(async (directory) => {
        let onLook = (): void => {}
        await using store = await openStore(directory, {
          clock() {
            const work = onLook
            onLook = () => {}
            work()
            return 5
          },
        })
        store.putSync('expiring', '1', { ttlMs: 1000 })
        store.putSync('other', '2', { ttlMs: 2000 })
        onLook = () => {
          store.get('other')
          store.putSync('third', '3')
        }

        const answer = await store[method]('expiring')

        expect(answer).toBe(
          { get: '1', has: true, expiresAt: 1005, delete: true, deleteSync: true }[method],
        )
        expect(store.get('other')).toBe('2')
        expect(store.get('third')).toBe('3')
        expect(store.has('expiring')).toBe(!method.startsWith('delete'))
      })
    },
  )
})

describe('user code that closes the store', () => {
  it('makes the write fail that it runs in', async () => {
    await withDirectory(async (directory) => {
      const store: Store<string> = await openAny<string>(directory, {
        valueEncoding: {
          encode(text) {
            closing = store.close()
            return text
          },
          decode: String,
        },
      })
      let closing: Promise<void> | undefined

      await expect(store.put('a', '1')).rejects.toThrow(withCode('FIRKIN_CLOSED'))
      await closing

      await using again = await openStore(directory)
      expect(again.count()).toBe(0)
    })
  })
})

/** A store whose codec and clock call any of its methods, with a model of what it must show. */
class Subject {
  readonly model = new Map<string, string>()
  calls = 0
  readonly #random: Random
  readonly #store: Store<string>
  #depth = 0
  #count = 0
  #batch: ReturnType<Store<string>['batch']>
  #staged: [key: string, value: string | undefined][] = []
  /** For each running read: every value that its key has had since it began. */
  readonly #seen: { readonly key: string; readonly values: (string | undefined)[] }[] = []

  private constructor(random: Random, store: Store<string>) {
    this.#random = random
    this.#store = store
    this.#batch = store.batch()
  }

  static async open(directory: string, random: Random, isJson: boolean): Promise<Subject> {
    let subject: Subject | undefined
    const interfere = (): void => subject?.interfere()
    const codec = {
      encode(value: string): string {
        interfere()
        return value
      },
      decode(bytes: Buffer): string {
        const value = bytes.toString()
        interfere()
        return value
      },
    }
    const store = await Store.open<string>(
      directory,
      {
        keydir: random.pick(['btree', 'hash', 'skiplist', 'bplustree'] as const),
        valueEncoding: isJson ? ('json' as unknown as typeof codec) : codec,
        maxSegmentBytes: 64 * 1024,
        merge: { automatic: false },
        clock() {
          interfere()
          return 1000
        },
      },
      { files: systemFiles, backgroundWork: inProcessWork(systemFiles) },
    )
    subject = new Subject(random, store)
    subject.isJson = isJson
    return subject
  }

  isJson = false

  /** Does anything, or nothing, in the middle of another call. */
  interfere(): void {
    if (this.#depth >= 3 || this.#random.chance(0.6)) return
    this.#depth++
    this.step()
    this.#depth--
  }

  step(): void {
    this.calls++
    const random = this.#random
    const key = `key ${random.below(12)}`
    const choice = random.below(12)
    if (choice < 3) this.#put(key, choice === 0)
    else if (choice === 3) this.#delete(key)
    else if (choice < 6) this.#get(key)
    else if (choice === 6) this.#ask(key)
    else if (choice === 7) this.#list()
    else if (choice < 10) this.#stage(key)
    else if (choice === 10) this.#unstage(key)
    else this.#commit()
  }

  async end(): Promise<void> {
    this.#depth = 9
    expect(Object.fromEntries(this.#store.entries())).toEqual(Object.fromEntries(this.model))
    const { findings } = await this.#store.verify()
    expect(findings).toEqual([])
    await this.#store.close()
  }

  /** Returns a value that begins with its key; some exceed the stage. */
  #value(key: string): string {
    const value = `${key}#${++this.#count}#`
    return this.#random.chance(0.02) ? value.padEnd(300_000, '.') : value
  }

  /** Returns what to pass to the store for a value. */
  #given(value: string): string {
    if (!this.isJson) return value
    const toJSON = (): string => {
      this.interfere()
      return value
    }
    // Safety: the value is text once it is stored.
    return { toJSON } as unknown as string
  }

  #options(): { ttlMs: number } | undefined {
    return this.#random.chance(0.5) ? { ttlMs: 1_000_000 } : undefined
  }

  #put(key: string, sync: boolean): void {
    const value = this.#value(key)
    if (sync) this.#store.putSync(key, this.#given(value), this.#options())
    else void this.#store.put(key, this.#given(value), this.#options())
    this.#set(key, value)
  }

  #delete(key: string): void {
    const removed = this.#store.deleteSync(key)
    expect(removed).toBe(this.model.has(key))
    this.#set(key, undefined)
  }

  #get(key: string): void {
    const seen = { key, values: [this.model.get(key)] }
    this.#seen.push(seen)
    const value = this.#store.get(key)
    this.#seen.pop()
    expect(seen.values).toContain(value)
  }

  #ask(key: string): void {
    const seen = { key, values: [this.model.get(key)] }
    this.#seen.push(seen)
    const has = this.#store.has(key)
    this.#seen.pop()
    expect(has).toBe(seen.values.at(-1) !== undefined)
  }

  #list(): void {
    for (const [key, value] of this.#store.entries({ limit: 5 })) {
      expect(value.startsWith(`${key}#`)).toBe(true)
    }
  }

  #stage(key: string): void {
    const batch = this.#batch
    const value = this.#value(key)
    try {
      batch.put(key, this.#given(value), this.#options())
    } catch (error) {
      // User code has committed the batch meanwhile.
      expect(error).toMatchObject({ code: 'FIRKIN_CLOSED' })
      expect(batch).not.toBe(this.#batch)
      return
    }
    expect(batch).toBe(this.#batch)
    this.#staged.push([key, value])
  }

  #unstage(key: string): void {
    if (this.#random.chance(0.2)) {
      this.#batch.clear()
      this.#staged = []
    } else {
      this.#batch.delete(key)
      this.#staged.push([key, undefined])
    }
  }

  #commit(): void {
    const batch = this.#batch
    try {
      batch.commitSync()
    } catch (error) {
      // Work that was due before the commit has committed the batch.
      expect(error).toMatchObject({ code: 'FIRKIN_CLOSED' })
      expect(batch).not.toBe(this.#batch)
      return
    }
    for (const [key, value] of this.#staged) this.#set(key, value)
    this.#batch = this.#store.batch()
    this.#staged = []
  }

  #set(key: string, value: string | undefined): void {
    if (value === undefined) this.model.delete(key)
    else this.model.set(key, value)
    for (const seen of this.#seen) if (seen.key === key) seen.values.push(value)
  }
}

describe('a codec, toJSON or clock that calls any method of the store', () => {
  it.each([false, true])(
    `does not change what any call does, with JSON %s (seed ${SEED})`,
    async (isJson) => {
      for (let round = 0; round < 20; round++) {
        await withDirectory(async (directory) => {
          const subject = await Subject.open(directory, new Random(SEED * 1000 + round), isJson)
          for (let step = 0; step < 300; step++) {
            subject.step()
            if (step % 50 === 0) await Promise.resolve()
          }
          expect(subject.calls).toBeGreaterThan(400)
          await subject.end()
        })
      }
    },
  )
})
