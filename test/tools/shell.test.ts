import { Readable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Interrupted } from '../../tools/failure.ts'
import { Output } from '../../tools/output.ts'
import { ShellLanguage } from '../../tools/shell-language.ts'
import type { Terminal } from '../../tools/terminal.ts'
import { Fixtures, fillTiny, openBytes } from './fixture.ts'
import { linesOf, Memory, run } from './run.ts'

const fixtures = new Fixtures()

/** A terminal whose output is examined. */
function terminalOf(output: Memory): Terminal {
  const interrupt = new AbortController().signal
  return { input: Readable.from([]), output, error: output, environment: {}, interrupt }
}

/** Arbitrary bytes, many of them characters of escapes. */
function entryOfBytes() {
  const text = fc.string({ unit: fc.constantFrom(...'\\"xnu{}\ufffd\u2028 \t\nß\ud83c\udf7a0') })
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 20 }).map((array) => Buffer.from(array)),
    text.map((some) => Buffer.from(some)),
  )
  return fc.record({ key: bytes.filter(({ length }) => length > 0), value: bytes })
}

describe('firkin shell', () => {
  it('runs the lines of its input', async () => {
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
    expect(lines[0]).toBe('"with \\"quotes\\" and \\\\"')
    expect(lines[1]).toBe('x')
    expect(lines[2]).toBe('batch:1\t"line one\\nline \\"two\\""')
    expect(stdout).toMatch(/^keys +7$/m)
    expect(stdout).not.toContain('new')
    expect(stderr).toMatch(/^It expires at 2\d{3}-.*Z\nThere is no such key\n$/)
    expect((await run(['get', store, 'a key'])).stdout).toBe('with "quotes" and \\')
  })

  it('goes on after a line that it does not understand', async () => {
    const input = 'frobnicate\nget\nset a b soon\nget "open\nhelp\nget changed\n'

    const { status, stdout, stderr } = await run(
      ['shell', await fixtures.copyOf(fixtures.tiny())],
      {
        input,
      },
    )

    expect(status).toBe(1)
    expect(linesOf(stderr)).toEqual([
      'warning: frobnicate is not known here; see help',
      'warning: usage: get KEY',
      'warning: soon is not a duration; write it as 250ms, 10s, 5m, 2h or 7d',
      'warning: There is no word at "open',
    ])
    for (const verb of ['set', 'get', 'delete', 'scan', 'stats', 'help', 'quit']) {
      expect(stdout).toMatch(new RegExp(`^${verb}\\b`, 'm'))
    }
    expect(linesOf(stdout).at(-1)).toBe('new')
  })

  it('stores what its escapes stand for, and prints words that can be pasted back', async () => {
    const store = await fixtures.path()
    const typed = 'set nl "a\\nb\\x00" 1h\nset "\\xff\\u{1f37a}" \\n\nset "" x\nscan\n'

    const first = await run(['shell', store, '--create'], { input: typed })
    const printed = linesOf(first.stdout)
    const again = await fixtures.path()
    const input = `${printed.map((line) => `set ${line}`).join('\n')}\nscan\n`
    const second = await run(['shell', again, '--create'], { input })

    expect(first.status).toBe(1)
    expect(first.stderr).toBe('warning: Key is empty; the least is 1 byte\n')
    expect((await run(['get', store, 'nl', '--hex'])).stderr).toContain('does not consist')
    expect((await run(['get', store, 'nl'])).stdout).toBe('a\nb\0')
    expect((await run(['get', store, 'fff09f8dba', '--hex'])).stdout).toBe('5c6e\n')
    expect(second.stdout).toBe(first.stdout)
    expect([second.status, second.stderr]).toEqual([0, ''])
  })

  it('accepts its own output as input, for any key and value', async () => {
    await fc.assert(
      fc.asyncProperty(entryOfBytes(), entryOfBytes(), async (one, other) => {
        const directory = await fixtures.path()
        await using store = await openBytes(directory)
        await store.put(one.key, one.value)
        await store.put(other.key, other.value)
        const output = new Memory(undefined)
        const printer = new Output(terminalOf(output), {})
        const language = new ShellLanguage(store, printer)
        const before = [...store.entries()]

        await language.run('scan')
        await printer.flush()
        await store.clear()
        for (const line of linesOf(output.text)) await language.run(`set ${line}`)

        expect([...store.entries()]).toEqual(before)
      }),
      { numRuns: 100 },
    )
  })

  it.each([
    ['set a "\\q"', '\\q stands for nothing; a backslash itself is written \\\\'],
    ['set a "\\x0"', '\\x stands for nothing; a backslash itself is written \\\\'],
    ['set a "\\u{d800}"', '\\u{d800} stands for nothing; a backslash itself is written \\\\'],
    ['set a "\\u{110000}"', '\\u{110000} stands for nothing; a backslash itself is written \\\\'],
    ['set a \xff', 'The line is not UTF-8; a byte is written "\\xff"'],
  ])('stores nothing for %j', async (line, message) => {
    const store = await fixtures.path()

    const { status, stderr } = await run(['shell', store, '--create'], {
      input: Buffer.from(`${line}\n`, 'latin1'),
    })

    expect([status, stderr]).toEqual([1, `warning: ${message}\n`])
    expect((await run(['count', store])).stdout).toBe('0\n')
  })

  it('exits with status 130 when Ctrl-C comes before its input', async () => {
    const interrupt = new AbortController()
    const input = new Readable({ read: () => interrupt.abort(new Interrupted()) })

    const { status, stderr } = await run(['shell', await fixtures.tiny(), '--read-only'], {
      input,
      interrupt: interrupt.signal,
    })

    expect([status, stderr]).toEqual([130, 'firkin: Interrupted\n'])
  })

  it('changes nothing with --read-only, beside a writer', async () => {
    const directory = await fixtures.path()
    await using store = await openBytes(directory)
    await fillTiny(store)

    const { status, stdout, stderr } = await run(['shell', directory, '--read-only', '--json'], {
      input: 'get plain\nset plain x\n',
    })

    expect(status).toBe(1)
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
