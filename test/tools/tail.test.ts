import { describe, expect, it } from 'vitest'
import { Fixtures, fillTiny, openBytes } from './fixture.ts'
import { linesOf, Memory, run } from './run.ts'

const fixtures = new Fixtures()

describe('firkin tail', () => {
  it('prints the newest records as dump does, ten or a given number', async () => {
    const store = await fixtures.large()
    const all = linesOf((await run(['dump', store])).stdout)

    for (const count of [10, 1, 700, 5000]) {
      const options = count === 10 ? [] : ['-n', String(count)]
      const { status, stdout } = await run(['tail', store, ...options])

      expect(status).toBe(0)
      expect(linesOf(stdout)).toEqual(all.slice(-count))
    }
    expect((await run(['tail', store, '-n', '0'])).stdout).toBe('')
  })

  it('orders records by sequence, not by file, after a merge', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    await run(['merge', store, '--all'])
    await run(['put', store, 'newest', 'of all'])

    const { stdout } = await run(['tail', store, '-n', '3', '--json'])

    const records = linesOf(stdout).map((line) => JSON.parse(line))
    const sequences = records.map(({ sequence }) => sequence)
    expect(sequences).toEqual([...sequences].sort((a, b) => a - b))
    expect(records.at(-1).key).toBe('newest')
  })

  it('prints hexadecimal digits with --raw', async () => {
    const { stdout } = await run(['tail', await fixtures.tiny(), '--raw', '-n', '2'])

    expect(stdout).toContain(Buffer.from('nowhere').toString('hex'))
  })

  it('follows a writer across segments, and succeeds when Ctrl-C ends it', async () => {
    const directory = await fixtures.path()
    const interrupt = new AbortController()
    const output = new Memory(undefined)
    await using store = await openBytes(directory)
    await fillTiny(store)
    const seen = async (text: string): Promise<void> => {
      while (!output.text.includes(text)) await new Promise((resolve) => setTimeout(resolve, 2))
    }

    const following = run(['tail', directory, '--follow', '-n', '1', '--interval', '2ms'], {
      output,
      interrupt: interrupt.signal,
    })
    await seen('batch-end')
    for (let index = 0; index < 400; index++) {
      await store.put(`key ${index}`, Buffer.alloc(500, 'v'))
      if (index === 200) await seen('"key 200"')
    }
    await store.batch().put('a', Buffer.from('1')).delete('key 1').commit()
    await seen('"key 1"\t-')
    interrupt.abort()
    const { status, stderr } = await following

    expect([status, stderr]).toEqual([0, ''])
    const keys = linesOf(output.text).flatMap((line) => line.match(/\t"(key \d+)"\t"v/)?.[1] ?? [])
    expect(keys).toEqual(Array.from({ length: 400 }, (_, index) => `key ${index}`))
    expect(store.stats().segments.length).toBeGreaterThan(2)
  })
})
