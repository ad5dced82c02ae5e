/** The providers, each by itself, in a process that has chosen it. */

import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { createKoffiProvider } from '../../src/io/mmap/koffi.ts'
import { loadMmapIo } from '../../src/io/mmap/mmap-io.ts'
import { withDirectory } from '../support/directory.ts'

const run = promisify(execFile)
const built = (path: string) =>
  JSON.stringify(new URL(`../../dist/src/${path}`, import.meta.url).href)
const PROVIDERS = [createKoffiProvider(), loadMmapIo()].flatMap((provider) => provider?.name ?? [])

/**
 * Runs a program in a directory. It reads `maps()`: how many mappings of the directory's files
 * exist.
 */
async function output(directory: string, provider: string, program: string): Promise<unknown> {
  const code = `
    import { readFileSync } from 'node:fs'
    import { setTimeout } from 'node:timers/promises'
    const maps = () =>
      readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => line.includes(process.cwd())).length
    const { open } = await import(${built('index.js')})
    const { mapProvider } = await import(${built('io/mmap/providers.js')})
    const provider = mapProvider()
    ${program}
  `
  const args = ['--expose-gc', '--input-type=module', '-e', code]
  const env = { ...process.env, FIRKIN_MMAP: provider }
  const { stdout } = await run(process.execPath, args, { cwd: directory, env })
  return JSON.parse(stdout)
}

describe.runIf(PROVIDERS.includes('koffi'))('if both packages are installed', () => {
  it('koffi maps, because it unmaps in a thread', async () => {
    await withDirectory(async (directory) => {
      expect(await output(directory, '', 'console.log(JSON.stringify(provider.name))')).toBe(
        'koffi',
      )
    })
  })
})

describe.runIf(process.platform === 'linux').each(PROVIDERS)('%s', (provider) => {
  it('serves a store, and its pages', async () => {
    const program = `
      const store = await open('data', { maxSegmentBytes: 65536, valueEncoding: 'utf8' })
      const keys = Array.from({ length: 5000 }, (_, index) => 'key ' + index)
      for (const key of keys) store.putSync(key, key.repeat(5))
      const right = keys.every((key) => store.get(key) === key.repeat(5))
      const mapped = maps()
      await store.merge()
      const merged = keys.every((key) => store.get(key) === key.repeat(5))
      await store.close()
      console.log(JSON.stringify({ name: provider.name, right, merged, isMapped: mapped > 1 }))
    `
    await withDirectory(async (directory) => {
      expect(await output(directory, provider, program)).toEqual({
        name: provider,
        right: true,
        merged: true,
        isMapped: true,
      })
    })
  })

  it('refuses a file that is not open', async () => {
    const program = `
      let message = ''
      try {
        provider.mapFile(12345, 4096)
      } catch (error) {
        message = error.message
      }
      console.log(JSON.stringify(message))
    `
    await withDirectory(async (directory) => {
      expect(await output(directory, provider, program)).toMatch(/9|bad file/i)
    })
  })
})

describe.runIf(PROVIDERS.includes('koffi') && process.platform === 'linux')('koffi', () => {
  it('releases a file without the garbage collector, and shows no more of it', async () => {
    const program = `
      const { openSync, closeSync, unlinkSync } = await import('node:fs')
      const file = openSync('file', 'r')
      const mapped = provider.mapFile(file, 8192)
      closeSync(file)
      const before = maps()
      const shown = mapped.toString('latin1', 0, 5)
      await provider.unmap(mapped)
      await provider.unmap(mapped)
      console.log(JSON.stringify({ before, shown, after: maps(), left: mapped.length > 0 && [...mapped].some((byte) => byte !== 0) }))
    `
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'file'), 'bytes'.repeat(2000))

      const told = await output(directory, 'koffi', program)

      expect(told).toEqual({ before: 1, shown: 'bytes', after: 0, left: false })
    })
  })

  it('leaves a mapping to the collector if nobody unmaps it', async () => {
    const program = `
      const { openSync } = await import('node:fs')
      const file = openSync('file', 'r')
      for (let count = 0; count < 10; count++) provider.mapFile(file, 8192)
      const before = maps()
      for (let round = 0; round < 200 && maps() > 0; round++) {
        gc()
        await setTimeout(10)
      }
      console.log(JSON.stringify({ before, after: maps() }))
    `
    await withDirectory(async (directory) => {
      writeFileSync(join(directory, 'file'), 'bytes'.repeat(2000))

      expect(await output(directory, 'koffi', program)).toEqual({ before: 10, after: 0 })
    })
  })

  it('leaves no mapping of a store that is closed or merged', async () => {
    const program = `
      const keys = Array.from({ length: 3000 }, (_, index) => 'key ' + index)
      const store = await open('data', { maxSegmentBytes: 65536, valueEncoding: 'utf8' })
      for (const key of [...keys, ...keys]) store.putSync(key, key.repeat(5))
      for (const key of keys) store.get(key)
      await store.merge()
      for (const key of keys) store.get(key)
      const whileOpen = maps()
      await store.close()
      for (let round = 0; round < 200 && maps() > 0; round++) await setTimeout(10)
      console.log(JSON.stringify({ wasMapped: whileOpen > 1, after: maps() }))
    `
    await withDirectory(async (directory) => {
      expect(await output(directory, 'koffi', program)).toEqual({ wasMapped: true, after: 0 })
    })
  })

  it('leaves no mapping of worker threads', { timeout: 120_000 }, async () => {
    const program = `
      const store = await open('data', { maxSegmentBytes: 65536, valueEncoding: 'utf8' })
      for (let index = 0; index < 2000; index++) store.putSync('key ' + index, 'value '.repeat(10))
      await store.close()
      const { Worker } = await import('node:worker_threads')
      const source = \`
        import(${built('index.js').replaceAll('"', "'")}).then(async ({ open }) => {
          const store = await open('data', { readOnly: true, valueEncoding: 'utf8' })
          for (let index = 0; index < 2000; index += 50) store.get('key ' + index)
          await store.close()
        })
      \`
      for (let round = 0; round < 4; round++) {
        const workers = Array.from({ length: 10 }, () => new Worker(source, { eval: true }))
        await Promise.all(workers.map((worker) => new Promise((resolve, reject) =>
          worker.on('exit', resolve).on('error', reject))))
      }
      console.log(JSON.stringify(maps()))
    `
    await withDirectory(async (directory) => {
      expect(await output(directory, 'koffi', program)).toBe(0)
    })
  })

  it('returns no mapping if the runtime accepts no memory from elsewhere', async () => {
    const program = `
      const { createRequire } = await import('node:module')
      const koffi = createRequire(${built('io/mmap/koffi.js')})('@koromix/koffi-' + process.platform + '-' + process.arch)
      koffi.view = () => { throw new Error('External buffers are not allowed') }
      const store = await open('data', { maxSegmentBytes: 65536, valueEncoding: 'utf8' })
      for (let index = 0; index < 2000; index++) store.putSync('key ' + index, 'value ' + index)
      let right = true
      for (let index = 0; index < 2000; index++) right &&= store.get('key ' + index) === 'value ' + index
      await store.close()
      console.log(JSON.stringify({ right, maps: maps() }))
    `
    await withDirectory(async (directory) => {
      expect(await output(directory, 'koffi', program)).toEqual({ right: true, maps: 0 })
    })
  })
})
