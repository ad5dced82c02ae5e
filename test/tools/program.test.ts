import { writeFile } from 'node:fs/promises'
import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { Fixtures } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

const COMMANDS = [
  'inspect',
  'dump',
  'tail',
  'verify',
  'get',
  'put',
  'delete',
  'scan',
  'count',
  'shell',
  'export',
  'import',
  'backup',
  'restore',
  'merge',
  'repair',
  'bench',
]

const ESCAPE = '\u001b'
/** An escape sequence of colour. */
const COLOR = `${ESCAPE}[`
/** The characters of a progress bar. */
const PROGRESS = new RegExp(`${ESCAPE}(\\[\\??\\d*[a-zA-Z]|[78])`, 'g')

describe('the tool', () => {
  it('prints its version', async () => {
    const { status, stdout } = await run(['--version'])

    expect(status).toBe(0)
    expect(stdout).toBe(`${packageJson.version}\n`)
  })

  it('lists every command in its help', async () => {
    const { status, stdout } = await run(['--help'])

    expect(status).toBe(0)
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'))
  })

  it.each(COMMANDS)('explains %s, with examples', async (command) => {
    const { status, stdout } = await run([command, '--help'])

    expect(status).toBe(0)
    expect(stdout).toMatch(new RegExp(`^Examples:\\n {2}\\$ .*firkin ${command}`, 'm'))
    expect(stdout).toContain('--json')
  })

  it.each([
    [[], 'Usage: firkin'],
    [['inspct', 'x'], "firkin: unknown command 'inspct' (Did you mean inspect?)\n"],
    [['inspect'], "firkin: missing required argument 'directory'\n"],
    [['inspect', 'x', 'y'], 'firkin: too many arguments'],
    [['count', ''], 'firkin: The name of the directory is empty\n'],
    [['backup', import.meta.dirname, ''], 'firkin: The name of the target is empty\n'],
    [['scan', 'x', '--limt', '3'], "firkin: unknown option '--limt' (Did you mean --limit?)\n"],
    [['scan', 'x', '--limit', 'ten'], 'firkin: ten is not a whole number of at least 0\n'],
    [['scan', 'x', '--keys', '--values'], 'firkin: --keys and --values exclude each other\n'],
    [['get', 'x', ''], 'firkin: The key is empty; the least is 1 byte\n'],
    [['get', 'x', '\ufffd'], 'firkin: The key is not UTF-8; --hex takes any bytes\n'],
    [['scan', 'x', '--gte', '\ud800'], 'firkin: The key is not UTF-8; --hex takes any bytes\n'],
    [['put', 'x', 'a', '\ufffd'], 'firkin: The value is not UTF-8; --hex takes any bytes\n'],
    [['get', 'x', 'abc', '--hex'], 'firkin: abc does not consist of pairs of hexadecimal digits\n'],
    [['put', 'x', 'a', 'b', '--ttl', '5'], 'firkin: 5 is not a duration; write it as 250ms, 10s'],
    [['export', 'x', '--format', 'xml'], 'firkin: option'],
    [['import', 'x', '--key', 'value'], 'firkin: The columns value, value, expiresAt are not all'],
    [['import', 'x', '--batch', '0'], 'firkin: 0 is not a whole number of at least 1\n'],
  ])('refuses %j as wrong usage', async (argv, message) => {
    const { status, stdout, stderr } = await run(argv)

    expect(status).toBe(2)
    expect(stdout).toBe('')
    expect(stderr.startsWith(message)).toBe(true)
  })

  it.each(COMMANDS.filter((command) => !['bench', 'import', 'restore'].includes(command)))(
    'says in one line that there is no store for %s',
    async (command) => {
      const missing = await fixtures.path()
      const rest = { get: ['k'], put: ['k', 'v'], delete: ['k'], backup: [`${missing}-to`] }
      const argv = [command, missing, ...(rest[command as keyof typeof rest] ?? [])]

      const { status, stdout, stderr } = await run(argv)

      expect(status).toBe(1)
      expect(stdout).toBe('')
      const hint = ['put', 'shell'].includes(command) ? '; --create makes one' : ''
      expect(stderr).toBe(`firkin: There is no directory ${missing}${hint}\n`)
    },
  )

  it('distinguishes a directory without a store, and a file, from a store', async () => {
    const { status, stderr } = await run(['count', import.meta.dirname])
    const ofFile = await run(['count', import.meta.filename])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: There is no store in ${import.meta.dirname}\n`)
    expect(ofFile.status).toBe(1)
    expect(ofFile.stderr).toBe(`firkin: ${import.meta.filename}: it is not a directory\n`)
  })

  it('prints nothing that would act on a terminal, whatever its input', async () => {
    const evil = '\u001b]0;x\u0007\u009b31m\u202e'
    const store = await fixtures.make((opened) => opened.put(`key${evil}`, Buffer.from(evil)))
    const file = await fixtures.path()
    await writeFile(file, `{"key":"${evil}`)
    const commands = [
      ['get', store, `key${evil}`],
      ['get', store, `key${evil}`, '--json'],
      ['scan', store],
      ['scan', store, '--json'],
      ['dump', store],
      ['dump', store, '--json'],
      ['tail', store],
      ['export', store],
      ['export', store, '--format', 'csv'],
      ['get', store, `other${evil}`],
      ['count', `${store}${evil}`],
      ['scan', store, `--other${evil}`],
      ['import', await fixtures.path(), file],
    ]

    for (const argv of commands) {
      const { stdout, stderr } = await run([...argv, '--no-color'], { columns: 80 })

      const drawn = stderr.replaceAll(PROGRESS, '')
      expect(`${argv[0]}: ${stdout}${drawn}`).toMatch(/^[ -~\t\n█░…]+$/)
    }
  })

  it('shows the stack of an error only with --debug', async () => {
    const missing = await fixtures.path()

    const short = await run(['count', missing])
    const long = await run(['--debug', 'count', missing])

    expect(linesOf(short.stderr)).toHaveLength(1)
    expect(long.stderr.startsWith(short.stderr)).toBe(true)
    expect(long.stderr).toMatch(/\n {4}at .*requireManifest/)
  })

  it('is coloured on a terminal, unless NO_COLOR or --no-color is set', async () => {
    const store = await fixtures.tiny()
    const colored = await run(['inspect', store], { columns: 100 })
    const piped = await run(['inspect', store])
    const option = await run(['inspect', store, '--no-color'], { columns: 100 })
    const variable = await run(['inspect', store], { columns: 100, environment: { NO_COLOR: '1' } })
    const dumb = await run(['inspect', store], { columns: 100, environment: { TERM: 'dumb' } })

    expect(colored.stdout).toContain(COLOR)
    for (const { stdout } of [piped, option, variable, dumb]) expect(stdout).not.toContain(COLOR)
  })

  it('assumes the usual width for a terminal that does not report it', async () => {
    const store = await fixtures.large()

    const unknown = await run(['inspect', store], { columns: 0 })
    const usual = await run(['inspect', store], { columns: 80 })

    expect(unknown.stdout).toBe(usual.stdout)
  })

  it.each([40, 60, 90, 140])('keeps its tables within %i columns', async (columns) => {
    const { stdout } = await run(['inspect', await fixtures.large(), '--no-color'], { columns })

    const table = linesOf(stdout.slice(stdout.indexOf('\n\n')))
    expect(table.length).toBeGreaterThan(3)
    for (const line of table) expect(line.length).toBeLessThanOrEqual(columns)
  })

  it('takes options before and after the command', async () => {
    const store = await fixtures.tiny()

    const before = await run(['--json', 'count', store])
    const behind = await run(['count', store, '--json'])

    expect(before.stdout).toBe('{"count":6}\n')
    expect(behind.stdout).toBe(before.stdout)
  })

  it('shows progress on a terminal, and not with --quiet or --json', async () => {
    const store = await fixtures.large()

    const shown = await run(['verify', store], { columns: 100 })
    const narrow = await run(['verify', store], { columns: 40 })
    const quiet = await run(['verify', store, '--quiet'], { columns: 100 })
    const json = await run(['verify', store, '--json'], { columns: 100 })

    expect(shown.stderr).toMatch(/verify █+.*% .* KiB of .* KiB/)
    expect(narrow.stderr).toMatch(/verify \d+%/)
    expect(quiet.stderr).toBe('')
    expect(json.stderr).not.toContain('%')
  })

  it('says what was done when Ctrl-C ends it', async () => {
    const store = await fixtures.large()
    const ends = {
      dump: /0 records had been printed/,
      scan: /0 entries had been printed/,
      verify: /0 B of \d+ KiB had been read|6\d\.\d KiB of \d+ KiB had been read/,
      export: /[\d,]+ entries had been written/,
      tail: /^firkin: Interrupted$/m,
    }

    for (const [command, said] of Object.entries(ends)) {
      const { status, stderr } = await run([command, store], { interrupt: AbortSignal.abort() })

      expect([command, status, linesOf(stderr).length]).toEqual([command, 130, 1])
      expect(stderr).toMatch(/^firkin: Interrupted/)
      expect(stderr).toMatch(said)
    }
  })

  it('ends quietly when nobody reads its output any more', async () => {
    const store = await fixtures.large()
    let written = 0
    const gone = () =>
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          written += chunk.length
          done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
        },
      })

    for (const command of ['dump', 'scan', 'export', 'tail']) {
      written = 0
      const { status, stderr } = await run([command, store], { output: gone() })

      expect([command, status, stderr]).toEqual([command, 0, ''])
      expect(written).toBeGreaterThan(0)
    }
  })
})
