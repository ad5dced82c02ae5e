/** Backups: what they hold, what they share with the store, and how they fail. */

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Store } from '../../src/store/store.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { DISK, idle, openOn, openStore, type TextStore, withCode } from '../support/store.ts'

const TARGET = '/disk/copy'

/** Opens a store of text in a directory other than the usual one. */
async function openAt(files: FaultyFiles, directory: string): Promise<TextStore> {
  const options = { lock: false, mapping: false, merge: { automatic: false } } as const
  const environment = { files, backgroundWork: inProcessWork(files) }
  return await Store.open(directory, { ...options, valueEncoding: 'utf8' }, environment)
}

/** Returns the entries of the store in a directory, which must verify. */
async function shownIn(files: FaultyFiles, directory: string): Promise<[string, string][]> {
  await using store = await openAt(files.restart(1), directory)
  expect((await store.verify()).ok).toBe(true)
  return [...store.entries()]
}

async function fill(store: TextStore, count: number, value: string): Promise<void> {
  for (let index = 0; index < count; index++) await store.put(`key ${index}`, value.repeat(100))
}

describe('backup', () => {
  it('refuses wrong arguments', async () => {
    await withDirectory(async (directory) => {
      await using store = await openStore(join(directory, 'store'))

      await expect(store.backup('')).rejects.toThrow(TypeError)
      await expect(store.backup(join(directory, 'copy'), { sgnal: 1 } as object)).rejects.toThrow(
        'did you mean signal?',
      )
    })
  })

  it('copies what a reader has seen, even if the writer has merged those files away', async () => {
    await withDirectory(async (directory) => {
      const source = join(directory, 'store')
      const target = join(directory, 'copy')
      await using writer = await openStore(source)
      await fill(writer, 1500, 'old')
      await fill(writer, 700, 'mid')
      await using reader = await openStore(source, { readOnly: true })
      await writer.merge()
      await fill(writer, 1500, 'new')

      const { bytesCopied, bytesLinked } = await reader.backup(target)

      await using copy = await openStore(target)
      expect(copy.count()).toBe(1500)
      expect(copy.get('key 699')).toBe('mid'.repeat(100))
      expect(copy.get('key 700')).toBe('old'.repeat(100))
      expect((await copy.verify()).ok).toBe(true)
      expect(bytesCopied + bytesLinked).toBe(reader.stats().bytes)
    })
  })

  it('holds the store as it was at the call, while writes and a merge go on', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const text of ['old', 'new']) await fill(store, 600, text)
    await store.sync()
    await idle(store)
    const expected = [...store.entries()]

    const backup = store.backup(TARGET)
    const merge = store.merge()
    for (const key of ['key 1', 'key 599', 'more']) await store.put(key, 'later')
    await Promise.all([backup, merge])

    expect(await shownIn(files, TARGET)).toEqual(expected)
    expect(store.get('more')).toBe('later')
    await store.close()
    expect(files.openPaths).toEqual([])
  })

  it('is complete whichever step of a merge or of sealing it is called at', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    const backups: Promise<unknown>[] = []
    let isCalling = false
    files.onCall = ({ kind, path }) => {
      // Not during a backup's own calls, nor in the middle of a write.
      if (isCalling || path.startsWith(TARGET) || /segment(\.\d+\.tmp)?$/.test(path)) return
      // The directory is identified before each call, including those of a backup.
      if (kind === 'identify') return
      isCalling = true
      const target = `${TARGET}/${backups.length}`
      const expected = [...store.entries()]
      const backup = store.backup(target).then(async () => {
        expect(await shownIn(files, target)).toEqual(expected)
      })
      backups.push(backup)
      isCalling = false
    }

    for (const text of ['old', 'new']) await fill(store, 250, text)
    await store.merge()
    files.onCall = undefined

    await Promise.all(backups)
    expect(backups.length).toBeGreaterThan(20)
    await store.close()
  })

  it('links sealed segments and their hints, and copies the active segment', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await fill(store, 600, 'value')
    await store.sync()
    await idle(store)
    const segments = store.stats().segments
    const sealed = segments.filter(({ active }) => !active)

    const report = await store.backup(TARGET)

    const bytes = sealed.reduce((sum, segment) => sum + segment.bytes, 0)
    expect(sealed.length).toBeGreaterThan(1)
    expect(report).toEqual({
      directory: TARGET,
      segments: segments.length,
      bytesLinked: bytes,
      bytesCopied: store.stats().bytes - bytes,
    })
    const links = files.calls.filter(({ kind, path }) => kind === 'link' && path.startsWith(TARGET))
    expect(links).toHaveLength(2 * sealed.length)
    await store.close()
  })

  it('copies everything if the file system does not allow links', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await fill(store, 600, 'value')
    const expected = [...store.entries()]
    files.fail({ kinds: ['link'], nth: 1, code: 'EACCES', lasting: true })

    const report = await store.backup(TARGET)

    expect(report).toMatchObject({ bytesLinked: 0, bytesCopied: store.stats().bytes })
    expect(await shownIn(files, TARGET)).toEqual(expected)
    await store.close()
  })

  it.each(['always', 'never'] as const)(
    'survives a power loss once it has resolved, with sync %s',
    async (sync) => {
      const files = new FaultyFiles(1)
      const store = await openOn(files, { sync })
      await fill(store, 600, 'value')
      await store.backup(TARGET)

      const machine = files.afterPowerLoss({ files: ['dropped'], entries: 'dropped' }, 1)

      expect(await shownIn(machine, TARGET)).toHaveLength(600)
      await store.close()
    },
  )

  it('shares no file that changes with the store', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await fill(store, 600, 'old')
    const expected = [...store.entries()]
    await store.backup(TARGET)

    await fill(store, 600, 'new')
    await store.merge()
    const copy = await openAt(files, TARGET)
    await copy.put('of the copy', '1')
    await copy.merge()

    expect(store.has('of the copy')).toBe(false)
    expect([...copy.entries()].slice(0, -1)).toEqual(expected)
    expect((await store.verify()).findings).toEqual([])
    await copy.close()
    await store.close()
  })

  it('refuses a target that is not empty, and changes nothing in it', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await fill(store, 10, 'value')
    await store.backup(TARGET)
    const { digest } = files

    await expect(store.backup(TARGET)).rejects.toThrow(withCode('FIRKIN_EXISTS'))
    await expect(store.backup(DISK)).rejects.toThrow(withCode('FIRKIN_EXISTS'))

    expect(files.digest).toBe(digest)
    await store.close()
  })

  it('refuses a target that another backup is filling, which goes on undisturbed', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await fill(store, 10, 'value')
    const expected = [...store.entries()]

    const [first, second] = await Promise.allSettled([store.backup(TARGET), store.backup(TARGET)])

    expect(first.status).toBe('fulfilled')
    expect(second).toEqual({ status: 'rejected', reason: withCode('FIRKIN_EXISTS') })
    expect(await shownIn(files, TARGET)).toEqual(expected)
    await store.close()
  })

  it('leaves nothing behind, and the store unchanged, if a file operation fails', async () => {
    let failures = 0
    for (let nth = 1; ; nth++) {
      const files = new FaultyFiles(1)
      const store = await openOn(files)
      await fill(store, 600, 'value')
      await store.sync()
      await idle(store)
      const expected = [...store.entries()]
      files.fail({ path: /^\/disk\/copy/, nth, code: 'ENOSPC' })

      const outcome = await store.backup(TARGET).then(
        () => 'done',
        (error) => error,
      )

      const failed = files.faultCount > 0
      files.heal()
      if (outcome === 'done') expect(await shownIn(files, TARGET)).toEqual(expected)
      else {
        failures++
        expect(outcome).toMatchObject({ cause: { code: 'ENOSPC' } })
        expect(outcome.code).toMatch(/^FIRKIN_(WRITE|IO)_FAILED$/)
        expect(files.list(TARGET) ?? []).toEqual([])
      }
      await fill(store, 10, 'later')
      await store.close()
      expect(files.openPaths).toEqual([])
      if (!failed) break
    }
    expect(failures).toBeGreaterThan(8)
  })

  it('rejects with what onProgress throws, and leaves nothing behind', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 600, 'value')
    const reason = new Error('of the caller')

    const backup = store.backup(TARGET, {
      onProgress() {
        throw reason
      },
    })

    await expect(backup).rejects.toBe(reason)
    expect(files.list(TARGET)).toEqual([])
  })

  it('leaves nothing behind if its signal ends it', async () => {
    await withDirectory(async (directory) => {
      const target = join(directory, 'copy')
      await using store = await openStore(join(directory, 'store'))
      await fill(store, 500, 'value')
      const abort = new AbortController()
      const told: number[] = []

      const ended = store.backup(target, {
        signal: abort.signal,
        onProgress({ bytesDone, bytesTotal }) {
          told.push(bytesDone / bytesTotal)
          abort.abort()
        },
      })

      await expect(ended).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
      expect(await readdir(target)).toEqual([])
      expect(told).toHaveLength(1)
      expect(told[0]).toBeGreaterThan(0)
    })
  })
})
