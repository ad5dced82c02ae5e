import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { open } from '../src/index.ts'
import { withDirectory } from './support/directory.ts'

const built = new URL('../dist/src/index.js', import.meta.url).href

/** Starts a process that opens the store, puts a key, says so, and stays until it is killed. */
async function startWriter(directory: string): Promise<ChildProcess> {
  const code = `
    const { open } = await import(${JSON.stringify(built)})
    const store = await open(${JSON.stringify(directory)})
    await store.put('key', 'of the writer')
    process.stdout.write('settled')
    setInterval(() => store, 1000)
  `
  const writer = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (writer.stdout !== null) await once(writer.stdout, 'data')
  return writer
}

async function kill(writer: ChildProcess): Promise<void> {
  writer.kill('SIGKILL')
  await once(writer, 'exit')
}

describe('a store that another process has open', () => {
  it('is refused to a second writer by the name of the first, until that is killed', async () => {
    await withDirectory(async (directory) => {
      const writer = await startWriter(directory)
      try {
        await expect(open(directory)).rejects.toMatchObject({
          code: 'FIRKIN_LOCKED',
          message: expect.stringContaining(`process ${writer.pid}`),
        })
      } finally {
        await kill(writer)
      }

      await using store = await open(directory)
      expect(store.get('key')?.toString()).toBe('of the writer')
      expect(store.stats().recovery.closed).toBe(false)
    })
  })

  it('can be read beside its writer, and not written', async () => {
    await withDirectory(async (directory) => {
      const writer = await startWriter(directory)
      try {
        await using reader = await open(directory, { readOnly: true })

        expect(reader.get('key')?.toString()).toBe('of the writer')
        await expect(reader.put('key', 'of the reader')).rejects.toMatchObject({
          code: 'FIRKIN_READ_ONLY',
        })
      } finally {
        await kill(writer)
      }
    })
  })

  it('is refused to a second writer in the same process as well', async () => {
    await withDirectory(async (directory) => {
      await using first = await open(directory)

      await expect(open(first.directory)).rejects.toMatchObject({ code: 'FIRKIN_LOCKED' })
    })
  })

  it('is not locked by a file that a dead process has left', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'LOCK')
      writeFileSync(path, `process ${process.pid} on this machine\n`)

      const store = await open(directory)
      await store.close()

      expect(readFileSync(path, 'utf8')).toContain(`process ${process.pid} on `)
    })
  })
})
