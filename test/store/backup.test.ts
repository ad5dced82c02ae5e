import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { openStore, type TextStore } from '../support/store.ts'

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

  it('copies beside a writer what a reader has seen, though a merge has removed the files', async () => {
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

  it('leaves nothing where it is ended', async () => {
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
