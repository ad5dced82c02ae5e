import { mkdir, readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { strideOver } from '../../tools/commands/bench.ts'
import { Fixtures } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

const OPERATIONS = ['put', 'get', 'range, an entry', 'open', 'merge', 'durable put, one at a time']

describe('firkin bench', () => {
  it('measures this machine and leaves nothing', async () => {
    const directory = await fixtures.path()
    await mkdir(directory)

    const { status, stdout, stderr } = await run(['bench', directory, '--keys', '300'])

    expect(status).toBe(0)
    expect(stderr).toMatch(/^Node v.* mapping\n$/)
    const lines = linesOf(stdout)
    expect(lines[0]).toMatch(/^operation +count +each +a second$/)
    for (const [index, name] of OPERATIONS.entries()) {
      expect(lines[index + 1]?.startsWith(name)).toBe(true)
    }
    expect(await readdir(directory)).toEqual([])
  })

  it('prints an object with --json, and takes a value size', async () => {
    const { stdout } = await run(['bench', '--keys', '50', '--value-size', '10', '--json'])

    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ keyCount: 50, valueSize: 10, node: process.version })
    expect(report.measurements.map(({ name }: { name: string }) => name)).toEqual(OPERATIONS)
  })

  it('reads every key, however many there are', () => {
    for (const count of [1, 2, 10, 7907, 7919, 2 * 7919, 100_000]) {
      const stride = strideOver(count)

      const read = Array.from({ length: count }, (_, index) => (index * stride) % count)

      expect(new Set(read).size).toBe(count)
    }
  })

  it('says that its directory does not exist', async () => {
    const { status, stderr } = await run(['bench', await fixtures.path()])

    expect(status).toBe(1)
    expect(stderr).toMatch(/there is no such file or directory\n$/)
  })
})
