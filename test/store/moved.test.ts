/**
 * Stores whose directory is moved, removed or replaced while they are open: what is there now is
 * not changed.
 */

import { createHash } from 'node:crypto'
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import { Store } from '../../src/store/store.ts'
import { removeUnderneath, withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { copyingBy, inProcessWork } from '../support/in-process-work.ts'
import { Peer } from '../support/peer.ts'
import {
  DISK,
  idle,
  KIB,
  keysUpTo,
  openOn,
  openStore,
  type TextOptions,
  type TextStore,
  until,
  withCode,
} from '../support/store.ts'

const KEYS = keysUpTo(60)
const VALUE = 'x'.repeat(4 * KIB)

/** Returns a digest of each file in a directory. */
function contentsOf(directory: string): Record<string, string> {
  const digest = (name: string): string =>
    createHash('sha1')
      .update(readFileSync(join(directory, name)))
      .digest('hex')
  return Object.fromEntries(readdirSync(directory).map((name) => [name, digest(name)]))
}

/** Puts all keys, which fill more than three segments. */
async function fill(store: TextStore, value = VALUE): Promise<void> {
  await Promise.all(KEYS.map((key) => store.put(key, value)))
  await store.sync()
  await idle(store)
}

/** Creates a store with keys of its own, and closes it. */
async function makeOther(directory: string): Promise<void> {
  const other = await openStore(directory)
  await Promise.all(KEYS.map((key) => other.put(`other ${key}`, VALUE)))
  await other.close()
}

/** Opens a store in a directory, and collects its error events. */
async function openCollecting(
  directory: string,
  options: TextOptions = {},
): Promise<{ store: TextStore; errors: Error[] }> {
  const store = await openStore(directory, options)
  const errors: Error[] = []
  store.on('error', (error) => errors.push(error))
  return { store, errors }
}

/** The ways in which a directory is replaced. Each leaves another, closed store in its place. */
const WAYS: readonly [name: string, (directory: string, aside: string) => Promise<void>][] = [
  [
    'removed and created again',
    async (directory) => {
      removeUnderneath(directory)
      await makeOther(directory)
    },
  ],
  [
    'moved and replaced by another store',
    async (directory, aside) => {
      renameSync(directory, aside)
      await makeOther(directory)
    },
  ],
  [
    'moved and replaced by an older copy of it',
    async (directory, aside) => {
      renameSync(directory, aside)
      cpSync(`${aside}.backup`, directory, { recursive: true })
      await (await openStore(directory)).close()
    },
  ],
  [
    'moved and replaced by a link to another store',
    async (directory, aside) => {
      renameSync(directory, aside)
      await makeOther(`${aside}.other`)
      symlinkSync(`${aside}.other`, directory)
    },
  ],
]

/** The operations that use names of files. Each rejects. */
const OPERATIONS: readonly [name: string, (store: TextStore) => Promise<unknown>][] = [
  ['a put that begins a segment', (store) => fill(store)],
  ['a batch that begins a segment', (store) => store.batch().put('b', VALUE.repeat(20)).commit()],
  ['a large put', (store) => store.put('large', 'x'.repeat(300 * KIB))],
  ['clear', (store) => store.clear().then(() => fill(store))],
  ['merge', (store) => store.merge()],
  ['backup', (store) => store.backup(`${store.directory}.new`)],
  ['verify', (store) => store.verify()],
]

describe.each(WAYS)('a store whose directory is %s', (_, replace) => {
  it.each(OPERATIONS)('is poisoned by %s, and changes nothing there', async (_name, operate) => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      const { store, errors } = await openCollecting(directory)
      await fill(store, 'old')
      await fill(store)
      await store.backup(join(above, 'aside.backup'))
      await store.put('settled', 'value')
      await replace(directory, join(above, 'aside'))
      const before = contentsOf(directory)

      await expect(operate(store)).rejects.toThrow(withCode('FIRKIN_MOVED'))

      const wasCleared = store.count() < KEYS.length
      expect(store.get('settled')).toBe(wasCleared ? undefined : 'value')
      await expect(store.put('more', 'value')).rejects.toThrow(withCode('FIRKIN_MOVED'))
      expect(() => store.putSync('more', 'value')).toThrow(withCode('FIRKIN_MOVED'))
      await expect(store.close()).rejects.toThrow(withCode('FIRKIN_MOVED'))
      expect(contentsOf(directory)).toEqual(before)
      expect(errors).toEqual([withCode('FIRKIN_MOVED')])
      await using other = await openStore(directory)
      expect((await other.verify()).findings).toEqual([])
      expect(other.count()).toBe(KEYS.length)
    })
  })

  it.each(['hint', 'copy'] as const)(
    'is not reported as damaged by a %s that reads what is there now',
    async (kind) => {
      await withDirectory(async (above) => {
        const directory = join(above, 'store')
        const real = inProcessWork(systemFiles)
        let hasMoved = false
        let hint: BackgroundWork['hint'] = async (...jobs) => {
          while (!hasMoved) await setImmediate()
          await real.hint(...jobs)
        }
        if (kind === 'copy') hint = real.hint
        const copy: BackgroundWork['copy'] = (...job) => {
          if (!hasMoved) {
            hasMoved = true
            moved = replace(directory, join(above, 'aside'))
          }
          return copyingBy(moved.then(() => real.copy(...job).done))
        }
        let moved = Promise.resolve()
        const store = await Store.open<string, 'utf8'>(
          directory,
          {
            valueEncoding: 'utf8',
            maxSegmentBytes: 64 * KIB,
            reserveBytes: 0,
            merge: { automatic: false },
          },
          { files: systemFiles, backgroundWork: { hint, copy } },
        )
        const errors: Error[] = []
        store.on('error', (error) => errors.push(error))
        await fill(store, 'old')
        await fill(store)
        await store.backup(join(above, 'aside.backup'))

        if (kind === 'copy') {
          await expect(store.merge()).rejects.toThrow(withCode('FIRKIN_MOVED'))
        } else {
          await replace(directory, join(above, 'aside'))
          hasMoved = true
          await until(() => errors.length > 0)
        }
        await expect(store.close()).rejects.toThrow(withCode('FIRKIN_MOVED'))

        expect(errors).toEqual([withCode('FIRKIN_MOVED')])
      })
    },
  )

  it.each([true, false])(
    'rejects its close, and changes nothing there, with earlier writes %s',
    async (isWritten) => {
      await withDirectory(async (above) => {
        const directory = join(above, 'store')
        const first = await openStore(directory)
        await fill(first)
        await first.backup(join(above, 'aside.backup'))
        await first.close()
        const store = await openStore(directory)
        if (isWritten) await fill(store)
        await replace(directory, join(above, 'aside'))
        const before = contentsOf(directory)

        await expect(store.close()).rejects.toThrow(withCode('FIRKIN_MOVED'))

        expect(contentsOf(directory)).toEqual(before)
        await (await openStore(directory)).close()
      })
    },
  )
})

describe('a store whose directory is moved', () => {
  it('loses nothing that had settled, and opens at its new place', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      const { store } = await openCollecting(directory)
      await fill(store)
      renameSync(directory, join(above, 'moved'))
      await store.put('after', 'it was moved')
      const last = store.put('staged', 'at the close')

      await expect(store.close()).rejects.toThrow(withCode('FIRKIN_MOVED'))
      await last

      expect(readdirSync(above)).toEqual(['moved'])
      await using moved = await openStore(join(above, 'moved'))
      expect(moved.count()).toBe(KEYS.length + 2)
      expect(moved.get('after')).toBe('it was moved')
      expect(moved.get('staged')).toBe('at the close')
      expect((await moved.verify()).ok).toBe(true)
    })
  })

  it('reads no file of the store that took its place', async () => {
    await withDirectory(async (parent) => {
      const directory = join(parent, 'store')
      const options = { mapping: false, maxOpenFiles: 1, merge: { automatic: false } }
      const filled = await openStore(directory, options)
      await fill(filled)
      await filled.close()
      const store = await openStore(directory, options)
      store.on('error', () => {})
      renameSync(directory, join(parent, 'elsewhere'))
      await makeOther(directory)

      const outcomes = KEYS.map((key) => {
        try {
          return store.get(key)
        } catch (error) {
          return (error as { code: string }).code
        }
      })

      expect(new Set(outcomes)).toEqual(new Set([VALUE, 'FIRKIN_MOVED']))
      await store.close().catch(() => undefined)
    })
  })

  it('is locked at its new place until it is closed', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      const { store } = await openCollecting(directory)
      await store.put('key', 'value')
      renameSync(directory, join(above, 'moved'))

      await expect(openStore(join(above, 'moved'))).rejects.toThrow(withCode('FIRKIN_LOCKED'))
      await store.close().catch(() => undefined)

      await (await openStore(join(above, 'moved'))).close()
    })
  })

  it('stays poisoned if it is moved back, because others may have written to it', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      const { store } = await openCollecting(directory)
      await fill(store, 'old')
      await fill(store)
      renameSync(directory, join(above, 'moved'))
      await expect(store.merge()).rejects.toThrow(withCode('FIRKIN_MOVED'))
      renameSync(join(above, 'moved'), directory)

      await expect(store.put('key', 'value')).rejects.toThrow(withCode('FIRKIN_MOVED'))

      await expect(store.close()).rejects.toThrow(withCode('FIRKIN_MOVED'))
      await using again = await openStore(directory)
      expect(again.count()).toBe(KEYS.length)
    })
  })

  it('goes on if it is moved back before any name is used', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      // Making a reserve would notice the move.
      const store = await openStore(directory, { reserveBytes: 0 })
      await fill(store)
      renameSync(directory, join(above, 'moved'))
      await store.put('meanwhile', 'value')
      renameSync(join(above, 'moved'), directory)

      await fill(store)
      await store.close()

      await using again = await openStore(directory)
      expect(again.get('meanwhile')).toBe('value')
    })
  })

  it('reports once what an automatic merge finds', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      const store = await openStore(directory, { merge: { automatic: true } })
      const errors: Error[] = []
      store.on('error', (error) => errors.push(error))
      await fill(store, 'y'.repeat(4 * KIB))
      renameSync(directory, join(above, 'moved'))
      await makeOther(directory)
      const before = contentsOf(directory)
      // The dead bytes start a merge.
      for (const key of KEYS) await store.put(key, 'small').catch(() => undefined)
      await until(() => errors.length > 0)
      await store.close().catch(() => undefined)

      expect(errors).toEqual([withCode('FIRKIN_MOVED')])
      expect(contentsOf(directory)).toEqual(before)
    })
  })

  it('loses nothing that had settled if its process is killed', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      await using peer = new Peer()
      // Making a reserve would notice the move.
      expect(await peer.open(directory, { sync: 'never', reserveBytes: 0 })).toEqual({})
      await peer.ask('put', 'before', 'value')
      renameSync(directory, join(above, 'moved'))
      await makeOther(directory)
      const before = contentsOf(directory)
      expect(await peer.ask('put', 'after', 'value')).toEqual({ value: null })

      await peer.kill()

      expect(contentsOf(directory)).toEqual(before)
      await using moved = await openStore(join(above, 'moved'))
      expect([...moved.keys()]).toEqual(['after', 'before'])
    })
  })
})

describe('a store that is opened through a symbolic link', () => {
  it('goes on in the directory that it opened, even if the link changes', async () => {
    await withDirectory(async (above) => {
      const [real, other, link] = ['real', 'other', 'link'].map((name) => join(above, name)) as [
        string,
        string,
        string,
      ]
      mkdirSync(real)
      await makeOther(other)
      symlinkSync(real, link)
      const store = await openStore(link)
      await fill(store)
      unlinkSync(link)
      symlinkSync(other, link)
      const before = contentsOf(other)

      await fill(store)
      await store.merge()
      await store.put('last', 'value')
      await store.close()

      expect(contentsOf(other)).toEqual(before)
      await using again = await openStore(real)
      expect(again.count()).toBe(KEYS.length + 1)
      expect((await again.verify()).findings).toEqual([])
    })
  })
})

describe('a store whose lock was removed', () => {
  it('is poisoned, because another process may have opened it', async () => {
    await withDirectory(async (directory) => {
      const { store } = await openCollecting(directory, { merge: { automatic: false } })
      // The second round leaves dead bytes to merge.
      await fill(store)
      await fill(store)
      unlinkSync(join(directory, 'LOCK'))
      const second = await openStore(directory)
      await fill(second)
      await second.close()
      const before = contentsOf(directory)

      await expect(store.merge()).rejects.toThrow(/LOCK is not the one that was opened/)

      await expect(store.close()).rejects.toThrow(withCode('FIRKIN_MOVED'))
      expect(contentsOf(directory)).toEqual(before)
    })
  })
})

describe('a store without a lock', () => {
  it('still notices that its directory was replaced', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      const store = await openStore(directory, { lock: false, merge: { automatic: false } })
      store.on('error', () => undefined)
      // The second round leaves dead bytes to merge.
      await fill(store)
      await fill(store)
      removeUnderneath(directory)
      await makeOther(directory)
      const before = contentsOf(directory)

      await expect(store.merge()).rejects.toThrow(withCode('FIRKIN_MOVED'))
      await expect(store.close()).rejects.toThrow(withCode('FIRKIN_MOVED'))

      expect(contentsOf(directory)).toEqual(before)
    })
  })
})

describe('a store on files in memory', () => {
  /** Does everything that a store can do, in few calls. */
  async function doAll(store: TextStore): Promise<void> {
    await fill(store, 'a')
    await fill(store)
    await store.merge()
    await store.put('last', VALUE)
    await store.backup('/disk/backup')
    await store.close()
  }

  it('changes nothing in a directory that replaced its own, whatever call is next', async () => {
    for (let nth = 1; ; nth++) {
      const files = new FaultyFiles(1)
      const store = await openOn(files)
      store.on('error', () => undefined)
      let isReplaced = false
      files.onCall = ({ number, kind }) => {
        // A replacement between the check and the call that follows at once cannot be noticed.
        if (number < nth || isReplaced || kind !== 'identify') return
        isReplaced = true
        files.replaceDirectory(DISK, 'empty')
      }
      const error = await doAll(store).catch((reason: unknown) => reason)
      await store.close().catch(() => undefined)
      if (!isReplaced) break

      expect(error).toEqual(withCode('FIRKIN_MOVED'))
      expect(files.restart(1).list(DISK)).toEqual([])
      expect(files.openPaths).toEqual([])
      nth = Math.max(
        nth,
        files.calls.findIndex(({ kind }, at) => at >= nth && kind === 'identify'),
      )
    }
  })

  it('fails only the running operation if it cannot check its directory', async () => {
    let failedCount = 0
    for (let nth = 1; nth <= 12; nth++) {
      const files = new FaultyFiles(1)
      const store = await openOn(files)
      store.on('error', () => undefined)
      await fill(store, 'old')
      await fill(store)
      files.fail({ kinds: ['identify'], nth, code: 'EACCES' })

      await store.merge().catch(() => failedCount++)

      await fill(store)
      await store.merge()
      await store.close()
    }
    expect(failedCount).toBeGreaterThan(0)
  })

  it('is poisoned by a failed sync of its directory, whatever operation made it', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    store.on('error', () => undefined)
    await fill(store, 'old')
    await fill(store)
    files.fail({ kinds: ['syncDirectory'], nth: 1, code: 'EIO' })

    await expect(store.merge()).rejects.toThrow()

    await expect(store.put('key', 'value')).rejects.toThrow(withCode('FIRKIN_POISONED'))
    await expect(store.close()).rejects.toThrow(withCode('FIRKIN_POISONED'))
  })
})
