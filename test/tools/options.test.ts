/** Runs every command of the built tool with every option, on a sound store and on damaged ones. */

import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, it, vi } from 'vitest'
import { DAMAGES, dumpOf, exportOf, FILE_KINDS, flip, kindsOf } from './damage.ts'
import { BINARY_KEY, BINARY_VALUE, Fixtures } from './fixture.ts'
import { linesOf, type Run, run, runBinary } from './run.ts'

const fixtures = new Fixtures()
const HEX_KEY = BINARY_KEY.toString('hex')
const HEX_VALUE = BINARY_VALUE.toString('hex')

/** Commands that only read, with their options. `TINY` and `LARGE` stand for the stores. */
const READING = `
--version
--help
help merge
inspect LARGE
inspect LARGE --bytes --no-color
inspect LARGE --json
dump TINY
dump TINY --raw
dump LARGE --segment 2
dump LARGE --segment 3 --json
dump LARGE --segment 77
tail LARGE
tail LARGE -n 3 --raw
tail LARGE --lines 5 --json --interval 1s
verify LARGE --bytes
verify LARGE --json
verify LARGE --quiet
get TINY plain
get TINY batch:1 --json
get TINY ${HEX_KEY} --hex
get TINY nowhere
get TINY nowhere -q
scan TINY
scan TINY --hex
scan TINY --json
scan TINY --prefix batch: --values
scan TINY --prefix 62 --hex --keys --json
scan LARGE --gt user:0003 --lte user:0009 --reverse --limit 3
scan LARGE --gte user:0003 --lt user:0009 --keys
count LARGE
count LARGE --prefix user:00
count LARGE --prefix 75 --hex --json
count LARGE --gt user:0003 --limit 5
count LARGE --gte user:0003 --lt user:0009
count LARGE --lte user:0009
export TINY
export TINY --quiet --gte b --lt d
export TINY --hex --gt 00ff10 --lte 63 --limit 2
export LARGE --prefix user:00 --format csv --key id --value text --expiry until
export TINY --format csv --base64
export TINY --format csv
merge LARGE --dry-run
merge LARGE --dry-run --all --bytes
merge LARGE --dry-run --all --json
repair LARGE --dry-run
repair LARGE --dry-run --json
count NOWHERE
cuont LARGE
count LARGE --limt 3
`

// Each test starts dozens of processes, which a busy machine takes a minute for.
vi.setConfig({ testTimeout: 180_000 })

describe('the built tool', () => {
  it('reads with each option as the tool in this process does', async () => {
    const places: Record<string, string> = {
      TINY: await fixtures.tiny(),
      LARGE: await fixtures.large(),
      NOWHERE: await fixtures.path(),
    }
    const commands = linesOf(READING.trim()).map((line) =>
      line.split(' ').map((word) => places[word] ?? word),
    )

    await inTurns(commands, async (argv) => {
      const there = await runBinary(argv)
      const { status, stdout, stderr } = await run(argv)

      expect([argv, there.status, there.stdout, there.stderr]).toEqual([
        argv,
        status,
        stdout,
        stderr,
      ])
    })
  })

  it('puts and deletes with each option', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const created = await fixtures.path()

    await fine(['put', store, 'plain', 'new value'])
    await fine(['put', store, 'brief', 'x', '--ttl', '2h'])
    await fine(['put', store, 'input', '-'], BINARY_VALUE)
    await fine(['put', store, '--hex', '--json', '--', '6b', HEX_VALUE])
    await fine(['put', created, 'k', 'v', '--create', '--quiet'])
    const text = await fine(['delete', store, 'changed', 'nowhere'])
    const hex = await fine(['delete', store, HEX_KEY, '--hex', '--json'])

    expect([text.stdout, hex.stdout]).toEqual(['1\n', '{"deleted":1}\n'])
    const keys = await run(['scan', store, '--keys'])
    expect(linesOf(keys.stdout)).toEqual([
      'batch:1',
      'batch:2',
      'brief',
      'input',
      'k',
      'plain',
      'session',
    ])
    expect((await run(['get', store, 'plain'])).stdout).toBe('new value')
    for (const key of ['input', 'k']) {
      expect((await runBinary(['get', store, key])).bytes).toEqual(BINARY_VALUE)
    }
    expect(
      JSON.parse((await run(['get', store, 'brief', '--json'])).stdout).expiresAt,
    ).toBeGreaterThan(Date.now())
    expect((await run(['count', created])).stdout).toBe('1\n')
  })

  it('exports to files, and imports with each option', async () => {
    const source = await fixtures.large()
    const wanted = await exportOf(source)
    const [plain, csv] = [await fixtures.path(), `${await fixtures.path()}.csv.gz`]
    const columns = ['--key', 'k', '--value', 'v', '--expiry', 'e', '--base64']

    await fine(['export', source, '--output', plain, '--gzip'])
    const refused = await runBinary(['export', source, '-o', plain, '--gzip'])
    await fine(['export', source, '-o', plain, '--gzip', '--force'])
    await fine(['export', source, '-o', csv, ...columns])
    const piped = await fine(['export', source, '--gzip', '--quiet'])
    const [fromFile, fromCsv, fromPipe] = await Promise.all([0, 1, 2].map(() => fixtures.path()))
    await fine(['import', fromFile ?? '', plain, '--gzip', '--batch', '100'])
    const counted = await fine(['import', fromCsv ?? '', csv, '--json', ...columns])
    await fine(['import', fromPipe ?? '', '-', '--format', 'ndjson'], gunzipSync(piped.bytes))

    expect([refused.status, piped.stderr]).toEqual([1, ''])
    expect(counted.stdout).toBe('{"records":1476,"skipped":0}\n')
    for (const store of [fromFile, fromCsv, fromPipe]) {
      expect(await exportOf(store ?? '')).toEqual(wanted)
    }
  })

  it('resumes an import', async () => {
    const store = await fixtures.path()
    const lines = Array.from({ length: 30 }, (_, index) => `{"key":"${index}","value":"v"}\n`)

    const broken = await runBinary(['import', store, '--batch', '10'], {
      input: `${lines.slice(0, 25).join('')}broken`,
    })
    const resumed = await fine(
      ['import', store, '--gzip', '--resume', '--json'],
      gzipSync(lines.join('')),
    )

    expect(broken.status).toBe(1)
    expect(broken.stderr).toContain('20 records of the input were imported; --resume continues')
    expect(resumed.stdout).toBe('{"records":30,"skipped":20}\n')
  })

  it('merges, backs up, restores and measures with each option', async () => {
    const source = await fixtures.large()
    const wanted = await exportOf(source)
    const [merged, little] = [
      await fixtures.copyOf(fixtures.large()),
      await fixtures.copyOf(fixtures.tiny()),
    ]
    const [backup, restored, place] = [
      await fixtures.path(),
      await fixtures.path(),
      await fixtures.path(),
    ]
    await mkdir(place)

    const all = await fine(['merge', merged, '--all', '--bytes'])
    const none = await fine(['merge', little])
    const json = await fine(['merge', little, '--all', '--json'])
    const copied = await fine(['backup', source, backup, '--json'])
    await fine(['restore', backup, restored])
    const bench = await fine(['bench', place, '--keys', '20', '--value-size', '10', '--json'])

    expect(all.stdout).toMatch(/^Merged 4 segments in .*: 242682 read, \d+ written, \d+ gained$/m)
    expect(none.stdout).toBe('Nothing worth merging; --all merges every segment with dead bytes\n')
    expect(JSON.parse(json.stdout).segments).toHaveLength(1)
    expect(JSON.parse(copied.stdout)).toMatchObject({ directory: backup, verified: true })
    expect(JSON.parse(bench.stdout)).toMatchObject({ keyCount: 20, valueSize: 10 })
    for (const store of [merged, restored]) expect(await exportOf(store)).toEqual(wanted)
  })

  it('runs a shell with each option', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const created = await fixtures.path()

    const said = await fine(
      ['shell', store],
      'set a "b c"\nget a\ndelete plain\nscan batch: 1\nquit\n',
    )
    const refused = await runBinary(['shell', store, '--read-only', '--json'], {
      input: 'get a\nset a c\n',
    })
    await fine(['shell', created, '--create'], 'set a b\n')

    expect(said.stdout).toBe('"b c"\nbatch:1\t"line one\\nline \\"two\\""\n')
    expect(refused.status).toBe(1)
    expect(refused.stdout).toBe('{"key":"a","value":"b c"}\n')
    expect(refused.stderr).toBe('warning: The store was opened with readOnly\n')
    expect((await run(['count', created])).stdout).toBe('1\n')
  })

  it('shows the stack of an error with --debug', async () => {
    const { status, stderr } = await runBinary(['count', await fixtures.path(), '--debug'])

    expect(status).toBe(1)
    expect(stderr).toMatch(/^firkin: There is no directory .*\n(.*\n)* {4}at /)
  })

  it('repairs with each option', async () => {
    const store = await fixtures.copyOf(fixtures.large())
    const [victim] = await dumpOf(store)
    await flip(join(store, '0000000001.segment'), victim?.offset ?? 0)
    const [target, report] = [await fixtures.path(), await fixtures.path()]

    const dry = await runBinary(['repair', store, '--dry-run'])
    const copied = await fine(['repair', store, '--to', target, '--report', report])
    const json = await fine(['repair', store, '--json'])

    expect([dry.status, dry.stdout.endsWith('Nothing was done\n')]).toEqual([1, true])
    expect(copied.stdout).toContain(`${target} is sound`)
    const { lost } = JSON.parse(await readFile(report, 'utf8'))
    expect([lost.bytesLost > 0, lost.recordsLost]).toEqual([true, 1])
    expect(JSON.parse(json.stdout)).toMatchObject({ directory: store, verified: true })
  })

  it.each(FILE_KINDS)('finds and repairs damage to %s', async (kind) => {
    await inTurns(Object.entries(DAMAGES), async ([name, damage]) => {
      const store = await fixtures.copyOf(fixtures.large())
      await damage(kindsOf(store)[kind])
      // Each command reports the damage in its own way, and may succeed in spite of it.
      const commands = name === 'flipped' ? ['verify', 'inspect', 'dump', 'count'] : ['verify']

      for (const command of commands) {
        const there = await runBinary([command, store])
        const { status, stdout, stderr } = await run([command, store])

        expect([command, there.status, there.stdout, there.stderr]).toEqual([
          command,
          status,
          stdout,
          stderr,
        ])
      }
      await fine(['repair', store])
      expect((await run(['verify', store])).stdout).toBe('')
    })
  })
})

/** Runs the binary, which must succeed. */
async function fine(
  argv: readonly string[],
  input: string | Uint8Array = '',
): Promise<Run & { readonly bytes: Buffer }> {
  const done = await runBinary(argv, { input })
  expect([argv, done.status, done.stderr.includes('firkin:')]).toEqual([argv, 0, false])
  return done
}

/** Calls `work` with each item, two at a time. */
async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  const take = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
  }
  await Promise.all([take(), take()])
}
