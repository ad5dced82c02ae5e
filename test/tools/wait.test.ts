/** Commands that wait for the process that has the store open. */

import { setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { open } from '../../src/index.ts'
import { Fixtures } from './fixture.ts'
import { type Run, run } from './run.ts'

const fixtures = new Fixtures()

/** Runs a command on a store that is open for a while. */
async function whileOpen(ms: number, ...[command, ...rest]: string[]): Promise<Run> {
  const directory = await fixtures.path()
  const store = await open(directory)
  await store.put('key', 'value')
  const running = run([command ?? '', directory, ...rest], { input: '{"key":"a","value":"b"}\n' })
  await setTimeout(ms)
  await store.close()
  return await running
}

describe('--wait', () => {
  it.each([
    ['put', 'key', 'other'],
    ['delete', 'key'],
    ['import', '--quiet'],
    ['merge'],
    ['shell'],
  ])('has %s wait until the store is closed', async (command, ...args) => {
    const { status, stderr } = await whileOpen(150, command, ...args, '--wait', '30s')

    // The shell does not know the line that it reads.
    expect(status, stderr).toBe(command === 'shell' ? 1 : 0)
    expect(stderr).not.toContain('In use')
  })

  it('ends when the time is over, and says who has the store open', async () => {
    const { status, stderr } = await whileOpen(1000, 'put', 'key', 'other', '--wait', '100ms')

    expect(status).toBe(1)
    expect(stderr).toMatch(/^firkin: In use: .* by this process since .*; waited for 100 ms\n$/)
  })

  it('ends with Ctrl-C', async () => {
    const directory = await fixtures.path()
    await using _ = await open(directory)
    const abort = new AbortController()
    const running = run(['put', directory, 'a', 'b', '--wait', '1h'], { interrupt: abort.signal })
    await setTimeout(100)

    abort.abort()

    expect(await running).toMatchObject({ status: 130, stderr: 'firkin: Interrupted\n' })
  })

  it.each([
    [['put', 'key', 'other', '--wait', '10'], '10 is not a duration; write it as 250ms, 10s'],
    [['shell', '--read-only', '--wait', '1s'], 'nothing to --wait for'],
  ])('refuses %j', async (args, message) => {
    const { status, stderr } = await whileOpen(0, ...args)

    expect(status).toBe(2)
    expect(stderr).toContain(message)
  })
})
