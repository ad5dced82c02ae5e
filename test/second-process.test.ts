/** Stores that several processes use, and directories that may not be written. */

import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { open } from '../src/index.ts'
import { withDirectory } from './support/directory.ts'
import { Peer } from './support/peer.ts'
import { keysUpTo } from './support/store.ts'

const RACES = 40
/** The id of a user other than root. */
const NOBODY = 65534

/** Starts a process as the first of a namespace of process ids, so that its id is 1. */
const IN_NAMESPACE = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child=SIGKILL']

/** Whether this process may create namespaces; root may, as in CI. */
const mayUnshare = ((): boolean => {
  const [command = '', ...args] = IN_NAMESPACE
  try {
    execFileSync(command, [...args, 'true'], { stdio: 'pipe' })
    return true
  } catch {
    console.warn('No namespace may be created here: two processes with one id are not tested.')
    return false
  }
})()

describe('a store that another process has open', () => {
  it('is refused to a second writer, naming the first, until that is killed', async () => {
    await withDirectory(async (directory) => {
      await using writer = new Peer()
      await writer.open(directory)
      await writer.ask('put', 'key', 'of the writer')

      await expect(open(directory)).rejects.toMatchObject({
        code: 'FIRKIN_LOCKED',
        message: expect.stringContaining(`process ${writer.pid} on `),
      })
      await writer.kill()

      await using store = await open(directory)
      expect(store.get('key')?.toString()).toBe('of the writer')
      expect(store.stats().recovery.closed).toBe(false)
    })
  })

  it('is opened by only one of two that race for it', async () => {
    await withDirectory(async (directory) => {
      await using left = new Peer()
      await using right = new Peer()
      for (let race = 0; race < RACES; race++) {
        const answers = await Promise.all([left.open(directory), right.open(directory)])

        const loser = answers.findIndex(({ code }) => code !== undefined)
        const [winner, other] = loser === 1 ? [left, right] : [right, left]
        expect(answers.filter(({ code }) => code === undefined)).toHaveLength(1)
        expect(answers[loser]).toEqual({
          code: 'FIRKIN_LOCKED',
          message: expect.stringContaining(`by process ${winner.pid} on `),
        })
        expect(await winner.ask('put', `race ${race}`, 'won')).toEqual({ value: null })
        await winner.ask('close')
        expect(await other.open(directory)).toEqual({})
        expect(await other.ask('get', `race ${race}`)).toEqual({ value: 'won' })
        await other.ask('close')
      }
    })
  })

  it('can be read beside its writer, but not written', async () => {
    await withDirectory(async (directory) => {
      await using writer = new Peer()
      await writer.open(directory)
      await writer.ask('put', 'key', 'of the writer')

      await using reader = await open(directory, { readOnly: true })

      expect(reader.get('key')?.toString()).toBe('of the writer')
      await expect(reader.put('key', 'of the reader')).rejects.toMatchObject({
        code: 'FIRKIN_READ_ONLY',
      })
    })
  })

  it('is followed while its writer merges and retires segments', async () => {
    await withDirectory(async (directory) => {
      await using writer = new Peer()
      const keys = keysUpTo(40)
      const batch = (round: number) =>
        keys.map((key) => ({ type: 'put', key, value: `${round} `.padEnd(2000) }))
      await writer.open(directory, { maxSegmentBytes: 64 * 1024, sync: 'never' })
      await writer.ask('batch', batch(0))
      await using reader = await open(directory, { readOnly: true, valueEncoding: 'utf8' })

      let seen = 0
      for (let round = 1; round <= 30; round++) {
        const written = writer.ask('batch', batch(round))
        const merged = written.then(() => writer.ask('merge'))
        await reader.refresh()
        using snapshot = reader.snapshot()
        const before = new Set(reader.values())
        await written
        await reader.refresh()
        const after = new Set(reader.values())
        await merged

        // A batch is seen whole, at the latest when it has settled, and never undone.
        expect(before.size).toBe(1)
        expect(Number([...before][0])).toBeGreaterThanOrEqual(seen)
        expect([...after].map(Number)).toEqual([round])
        expect(new Set(snapshot.values())).toEqual(before)
        seen = round
      }
      const ids = readdirSync(directory).filter((name) => name.endsWith('.segment'))
      expect(ids).not.toContain('0000000001.segment')
    })
  })

  it('is also refused to a second writer in the same process', async () => {
    await withDirectory(async (directory) => {
      await using first = await open(directory)

      await expect(open(first.directory)).rejects.toMatchObject({ code: 'FIRKIN_LOCKED' })
    })
  })
})

describe('a lock file', () => {
  it('of a dead process locks nothing, and names nobody after a close', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'LOCK')
      writeFileSync(path, `process ${process.pid} on this machine\n`)

      const store = await open(directory)

      expect(readFileSync(path, 'utf8')).toMatch(`process ${process.pid} on `)
      expect(readFileSync(path, 'utf8')).not.toMatch('this machine')
      await store.close()
      expect(readFileSync(path, 'utf8')).toBe('')
    })
  })

  it.each(['', '\0'.repeat(100), 'process 1'])(
    'may hold anything that an earlier holder has left: %j',
    async (text) => {
      await withDirectory(async (directory) => {
        await using writer = new Peer()
        writeFileSync(join(directory, 'LOCK'), text, 'latin1')

        expect(await writer.open(directory)).toEqual({})
        await expect(open(directory)).rejects.toMatchObject({
          code: 'FIRKIN_LOCKED',
          message: expect.stringContaining(`by process ${writer.pid} on `),
        })
      })
    },
  )
})

if (mayUnshare) {
  describe('two processes with one id', () => {
    it('exclude each other, and a kill releases the lock', async () => {
      await withDirectory(async (directory) => {
        await using first = new Peer(IN_NAMESPACE)
        await using second = new Peer(IN_NAMESPACE)
        await first.open(directory)
        await first.ask('put', 'key', 'of the first')

        expect(await second.open(directory)).toEqual({
          code: 'FIRKIN_LOCKED',
          message: expect.stringContaining('by process 1 on '),
        })
        await first.kill()

        expect(await opened(second, directory)).toEqual({})
        expect(await second.ask('get', 'key')).toEqual({ value: 'of the first' })
      })
    })
  })
}

/** Opens as soon as the namespace of the killed process is gone. */
async function opened(peer: Peer, directory: string) {
  for (;;) {
    const answer = await peer.open(directory)
    if (answer.code !== 'FIRKIN_LOCKED') return answer
  }
}

describe('a directory that may not be written', () => {
  it('is refused to a writer, but can be read', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory)
      await store.put('key', 'value')
      await store.close()
      chmodSync(directory, 0o555)
      try {
        await using peer = new Peer()
        // Root may write anywhere.
        if (process.getuid?.() === 0) await peer.ask('become', NOBODY)

        const refused = await peer.open(directory)
        expect(refused.code).toBe('FIRKIN_NOT_PERMITTED')
        expect(refused.message).toMatch(/^Cannot lock .*LOCK: EACCES/)
        expect((await peer.open(directory, { lock: false })).code).toMatch(
          /^FIRKIN_(IO|READ)_FAILED/,
        )
        expect(await peer.open(directory, { readOnly: true })).toEqual({})
        expect(await peer.ask('get', 'key')).toEqual({ value: 'value' })
      } finally {
        chmodSync(directory, 0o755)
      }
    })
  })
})

describe('a directory whose parent may not be written', () => {
  it('is enough for a store to write and merge', async () => {
    await withDirectory(async (above) => {
      const directory = join(above, 'store')
      mkdirSync(directory)
      chmodSync(directory, 0o777)
      chmodSync(above, 0o555)
      try {
        await using peer = new Peer()
        if (process.getuid?.() === 0) await peer.ask('become', NOBODY)

        expect(await peer.open(directory, { maxSegmentBytes: 65_536 })).toEqual({})
        for (const key of keysUpTo(10)) await peer.ask('put', key, 'x'.repeat(10_000))
        await peer.ask('put', 'key 000', 'again')
        expect(await peer.ask('merge')).toMatchObject({ value: { segments: [{ id: 1 }] } })
        expect(await peer.ask('close')).toEqual({ value: null })
        expect(await peer.open(directory)).toEqual({})
        expect(await peer.ask('get', 'key 000')).toEqual({ value: 'again' })
        expect(readdirSync(above)).toEqual(['store'])
      } finally {
        chmodSync(above, 0o755)
      }
    })
  })
})
