import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { digestsOf, flip, kindsOf } from './damage.ts'
import { Fixtures, fillLarge, openBytes } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

describe('firkin backup', () => {
  it('copies a store, which restore brings back', async () => {
    const store = await fixtures.large()
    const backup = await fixtures.path()
    const restored = await fixtures.path()
    const before = await digestsOf(store)

    const made = await run(['backup', store, backup])
    const back = await run(['restore', backup, restored, '--json'])

    expect(made.status).toBe(0)
    expect(made.stdout).toMatch(/^Backed up 4 segments to .*: .* copied, .* linked, verified\n$/)
    expect(JSON.parse(back.stdout)).toMatchObject({
      directory: restored,
      segments: 4,
      verified: true,
    })
    expect((await run(['export', restored])).stdout).toBe((await run(['export', store])).stdout)
    expect(await digestsOf(store)).toEqual(before)
  })

  it('copies a store that is being written', async () => {
    const directory = await fixtures.path()
    const backup = await fixtures.path()
    await using store = await openBytes(directory)
    await fillLarge(store)

    const { status } = await run(['backup', directory, backup])
    await store.put('later', Buffer.from('x'))

    expect(status).toBe(0)
    expect((await run(['count', backup])).stdout).toBe('1476\n')
    expect((await run(['verify', backup])).status).toBe(0)
  })

  it.each(['backup', 'restore'])('%s overwrites nothing', async (command) => {
    const store = await fixtures.tiny()
    const other = await fixtures.copyOf(fixtures.large())
    const before = await digestsOf(other)

    const { status, stderr } = await run([command, store, other])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: ${other} is not empty\n`)
    expect(await digestsOf(other)).toEqual(before)
  })

  it.each(['backup', 'restore', 'repair'])(
    '%s accepts the root of a file system as its target',
    async (command) => {
      const store = await fixtures.copyOf(fixtures.tiny())
      const root = await fixtures.path()
      await mkdir(join(root, 'lost+found'), { recursive: true })
      const argv = command === 'repair' ? ['repair', store, '--to', root] : [command, store, root]

      const { status, stderr } = await run(argv)

      expect([status, stderr]).toEqual([0, ''])
      expect((await run(['count', root])).stdout).toBe('6\n')
      expect(await readdir(root)).toContain('lost+found')
    },
  )

  it.each(['backup', 'restore'])('%s copies no damage', async (command) => {
    const store = await fixtures.copyOf(fixtures.large())
    const target = await fixtures.path()
    const path = kindsOf(store)['a sealed segment']
    await flip(path, 500)

    const { status, stderr } = await run([command, store, target])

    expect(status).toBe(1)
    expect(linesOf(stderr)).toEqual([
      expect.stringMatching(
        new RegExp(`^warning: ${path}, offset \\d+: The record does not match`),
      ),
      `firkin: Damaged: ${store} has 1 damaged place; see \`firkin verify\` and \`firkin repair\``,
    ])
    await expect(readdir(target)).rejects.toThrow('ENOENT')
  })

  it('says that there is nothing to restore', async () => {
    const missing = await fixtures.path()

    const { status, stderr } = await run(['restore', missing, await fixtures.path()])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: There is no directory ${missing}\n`)
  })

  it('leaves no store when Ctrl-C ends it', async () => {
    const target = await fixtures.path()
    const interrupt = new AbortController()
    interrupt.abort()

    const { status, stderr } = await run(['backup', await fixtures.large(), target], {
      interrupt: interrupt.signal,
    })

    expect(status).toBe(130)
    expect(stderr).toBe(`firkin: Interrupted. There is no store in ${target}\n`)
  })
})
