/** Opening: what it creates, refuses, leaves alone and releases. */

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { checksum } from '../../src/format/checksum.ts'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { CACHE_ORDER_NAME } from '../../src/format/names.ts'
import { Store } from '../../src/store/store.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { DISK, keysUpTo, openOn, openStore, withCode } from '../support/store.ts'

/** Returns a file with another version in its header, and a matching checksum. */
function withVersion(bytes: Buffer, version: number): Buffer {
  const changed = Buffer.from(bytes)
  changed[7] = version
  const crcAt = FILE_HEADER_SIZE - 4
  changed.writeUInt32LE(checksum(changed, 0, crcAt, 0), crcAt)
  return changed
}

describe('open', () => {
  it.each([undefined, null, '', 7, {}])('refuses the directory %o', async (directory) => {
    await expect(openStore(directory as string)).rejects.toThrow(TypeError)
  })

  it('creates every directory that leads to the store', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'a', 'b', 'c')

      await (await openStore(path)).close()

      expect((await readdir(path)).sort()).toEqual(['CHECKPOINT', 'LOCK', 'MANIFEST'])
    })
  })

  it('creates nothing with createIfMissing false', async () => {
    await withDirectory(async (directory) => {
      await writeFile(join(directory, 'notes.txt'), 'of somebody else')

      for (const path of [directory, join(directory, 'missing')]) {
        await expect(openStore(path, { createIfMissing: false })).rejects.toThrow(
          withCode('FIRKIN_NOT_FOUND'),
        )
      }

      expect(await readdir(directory)).toEqual(['notes.txt'])
    })
  })

  it('refuses a path that is a file, and does not change the file', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'file')
      await writeFile(path, 'a file')

      await expect(openStore(path)).rejects.toThrow(withCode('FIRKIN_IO_FAILED'))
      await expect(openStore(join(path, 'below'))).rejects.toThrow(withCode('FIRKIN_IO_FAILED'))
      expect(await readFile(path, 'utf8')).toBe('a file')
    })
  })

  it('refuses a directory that cannot be written', async () => {
    const files = new FaultyFiles(1)
    files.fail({ kinds: ['makeDirectory'], nth: 1, code: 'EACCES' })
    await expect(openOn(files)).rejects.toThrow(withCode('FIRKIN_NOT_PERMITTED'))
    files.fail({ kinds: ['makeDirectory'], nth: 1, code: 'EIO' })
    await expect(openOn(files)).rejects.toThrow(withCode('FIRKIN_IO_FAILED'))
    files.fail({ kinds: ['open'], nth: 1, code: 'EACCES' })
    await expect(openOn(files)).rejects.toThrow(withCode('FIRKIN_READ_FAILED'))

    await using store = await openOn(files)
    expect(store.count()).toBe(0)
  })

  it('does not change foreign files, or take them for its own', async () => {
    await withDirectory(async (directory) => {
      const foreign = ['notes.txt', '1.segment', '0000000000.segment', 'MANIFEST.bak', 'x.1.tmp']
      for (const name of foreign) await writeFile(join(directory, name), name)
      await mkdir(join(directory, '0000000001.segments'))

      const store = await openStore(directory, { allowNonEmpty: true })
      await store.put('a', '1')
      await store.close()

      await using reopened = await openStore(directory)
      expect(reopened.get('a')).toBe('1')
      expect(reopened.stats().recovery.leftovers).toEqual([])
      for (const name of foreign) {
        expect(await readFile(join(directory, name), 'utf8')).toBe(name)
      }
    })
  })

  it('refuses segments without a manifest, and changes nothing', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store.put('a', '1')
    await store.close()
    files.poke(`${DISK}/MANIFEST`, undefined)
    const { digest } = files

    await expect(openOn(files)).rejects.toThrow(withCode('FIRKIN_CORRUPT'))

    expect(files.digest).toBe(digest)
  })

  it.each([
    ['MANIFEST', 3, 'versions 1 to 2'],
    ['0000000001.segment', 2, 'version 1'],
  ])('refuses a %s of a newer format by its version', async (name, version, read) => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    await store.put('a', '1')
    await store.close()
    const path = `${DISK}/${name}`
    files.poke(path, withVersion(files.peek(path) ?? Buffer.alloc(0), version))
    files.poke(`${DISK}/CHECKPOINT`, undefined)
    const { digest } = files

    await expect(openOn(files)).rejects.toThrow(withCode('FIRKIN_VERSION'))
    await expect(openOn(files)).rejects.toThrow(
      `${path} is of format version ${version}; this version of Firkin reads ${read}`,
    )
    expect(files.digest).toBe(digest)
    expect(files.openPaths).toEqual([])
  })

  it.each(['CHECKPOINT', '0000000001.hint'])(
    'opens without a %s of a newer format',
    async (name) => {
      const files = new FaultyFiles(1)
      const store = await openOn(files)
      for (const key of keysUpTo(30)) await store.put(key, key.repeat(700))
      await store.sync()
      await store.close()
      const path = `${DISK}/${name}`
      const bytes = files.peek(path)
      if (name !== 'CHECKPOINT') files.poke(`${DISK}/CHECKPOINT`, undefined)
      if (bytes !== undefined) files.poke(path, withVersion(bytes, 9))

      await using reopened = await openOn(files)
      expect([...reopened.keys()]).toEqual(keysUpTo(30))
      expect(reopened.stats().recovery.source).not.toBe('checkpoint')
    },
  )

  it('is refused while another writer has the store open', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory)
      await store.put('a', '1')

      await expect(openStore(directory)).rejects.toThrow(withCode('FIRKIN_LOCKED'))
      await expect(openStore(directory)).rejects.toThrow('by this process since ')
      await store.put('b', '2')
      await store.close()

      await using next = await openStore(directory)
      expect([...next.keys()]).toEqual(['a', 'b'])
    })
  })

  it('closes every file if something goes wrong after they were opened', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const key of keysUpTo(30)) await store.put(key, key.repeat(700))
    await store.close()
    files.poke(join(DISK, CACHE_ORDER_NAME), Buffer.from('the order of a cache'))
    files.fail({ nth: 1, code: 'EIO', kinds: ['remove'], path: /ORDER/ })

    const options = { lock: false, mapping: false, allowCache: true } as const
    const environment = { files, backgroundWork: inProcessWork(files) }
    await expect(Store.open(DISK, options, environment)).rejects.toMatchObject({
      code: 'FIRKIN_IO_FAILED',
    })

    expect(files.openPaths).toEqual([])
  })

  it('closes every file if the operating system refuses to open more', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    // A crash leaves several segments that the manifest does not list.
    for (const key of keysUpTo(60)) store.putSync(key, key.repeat(700))
    const machine = files.restart(1)
    await store.close()

    let failures = 0
    for (let nth = 1; ; nth++) {
      machine.fail({ kinds: ['open'], nth, code: 'EMFILE' })
      const { digest } = machine
      const outcome = await openOn(machine, { readOnly: true }).catch((error) => error)
      if (!(outcome instanceof Error)) {
        await outcome.close()
        break
      }
      failures++
      expect(outcome).toMatchObject({ code: expect.stringMatching(/^FIRKIN_(READ|IO)_FAILED$/) })
      expect(machine.openPaths).toEqual([])
      expect(machine.digest).toBe(digest)
    }
    expect(failures).toBeGreaterThan(4)
  })

  it('fails if a crash left full segments that cannot be listed, unless space is short', async () => {
    const files = new FaultyFiles(1)
    const store = await openOn(files)
    for (const key of keysUpTo(60)) store.putSync(key, key.repeat(700))
    const machines = [files.restart(1), files.restart(1)]
    await store.close()

    const [broken, full] = machines as [FaultyFiles, FaultyFiles]
    broken.fail({ kinds: ['rename'], path: /MANIFEST$/, nth: 1, code: 'EIO' })
    await expect(openOn(broken)).rejects.toThrow(withCode('FIRKIN_IO_FAILED'))
    expect(broken.openPaths).toEqual([])

    full.fail({ kinds: ['rename'], path: /MANIFEST$/, nth: 1, code: 'ENOSPC' })
    await using reopened = await openOn(full)
    expect(reopened.count()).toBe(60)
  })

  it('releases the lock if it fails', async () => {
    await withDirectory(async (directory) => {
      await writeFile(join(directory, '0000000001.segment'), 'no segment')
      await expect(openStore(directory)).rejects.toThrow(withCode('FIRKIN_CORRUPT'))
      await expect(openStore(directory)).rejects.toThrow(withCode('FIRKIN_CORRUPT'))
    })
  })
})
