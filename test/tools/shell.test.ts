import { describe, expect, it } from 'vitest'
import { Output } from '../../tools/output.ts'
import { ShellLanguage } from '../../tools/shell-language.ts'
import { Fixtures, fillTiny, openBytes } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

describe('firkin shell', () => {
  it('does what the lines of its input say', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const input = [
      'set "a key" "with \\"quotes\\" and \\\\"',
      'get "a key"',
      'set brief x 2h',
      'get brief',
      'delete plain',
      'get plain',
      'scan batch: 1',
      '',
      'stats',
      'quit',
      'get changed',
    ]

    const { status, stdout, stderr } = await run(['shell', store], { input: input.join('\n') })

    const lines = linesOf(stdout)
    expect(status).toBe(0)
    expect(lines[0]).toBe('with \\"quotes\\" and \\\\')
    expect(lines[1]).toMatch(/^x {2}\(until 2\d{3}-.*Z\)$/)
    expect(lines[2]).toBe('batch:1\tline one\\nline \\"two\\"')
    expect(stdout).toMatch(/^keys +7$/m)
    expect(stdout).not.toContain('new')
    expect(stderr).toBe('There is no such key\n')
    expect((await run(['get', store, 'a key'])).stdout).toBe('with "quotes" and \\')
  })

  it('goes on behind a line that it does not understand', async () => {
    const input = 'frobnicate\nget\nset a b soon\nget "open\nhelp\nget changed\n'

    const { status, stdout, stderr } = await run(
      ['shell', await fixtures.copyOf(fixtures.tiny())],
      {
        input,
      },
    )

    expect(status).toBe(0)
    expect(linesOf(stderr)).toEqual([
      'warning: frobnicate is not known here; see help',
      'warning: usage: get KEY',
      'warning: soon is no duration; write it as 250ms, 10s, 5m, 2h or 7d',
      'warning: There is no word at "open',
    ])
    for (const verb of ['set', 'get', 'delete', 'scan', 'stats', 'help', 'quit']) {
      expect(stdout).toMatch(new RegExp(`^${verb}\\b`, 'm'))
    }
    expect(linesOf(stdout).at(-1)).toBe('new')
  })

  it('changes nothing with --read-only, beside a writer', async () => {
    const directory = await fixtures.path()
    await using store = await openBytes(directory)
    await fillTiny(store)

    const { status, stdout, stderr } = await run(['shell', directory, '--read-only', '--json'], {
      input: 'get plain\nset plain x\n',
    })

    expect(status).toBe(0)
    expect(stdout).toBe('{"key":"plain","value":"a value"}\n')
    expect(stderr).toBe('warning: The store was opened with readOnly\n')
  })

  it('creates a store with --create', async () => {
    const directory = await fixtures.path()

    const { status } = await run(['shell', directory, '--create'], { input: 'set a b\n' })

    expect(status).toBe(0)
    expect((await run(['get', directory, 'a'])).stdout).toBe('b')
  })

  it('completes commands', async () => {
    await using store = await openBytes(await fixtures.path())
    const terminal = { ...process, interrupt: new AbortController().signal }
    const output = new Output(
      {
        input: terminal.stdin,
        output: terminal.stdout,
        error: terminal.stderr,
        environment: {},
        interrupt: terminal.interrupt,
      },
      {},
    )

    const language = new ShellLanguage(store, output)

    expect(language.complete('s')).toEqual([['set ', 'scan ', 'stats '], 's'])
    expect(language.complete('del')).toEqual([['delete '], 'del'])
    expect(language.complete('x')).toEqual([[], 'x'])
  })
})
