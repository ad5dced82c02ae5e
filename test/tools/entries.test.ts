import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { openAny } from '../support/store.ts'
import { BINARY_KEY, BINARY_VALUE, Fixtures, FUTURE_MS, fillTiny, openBytes } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

const HEX_KEY = BINARY_KEY.toString('hex')
const HEX_VALUE = BINARY_VALUE.toString('hex')

describe('firkin get', () => {
  it('prints a value byte for byte', async () => {
    const store = await fixtures.tiny()

    expect((await run(['get', store, 'plain'])).stdout).toBe('a value')
    expect((await run(['get', store, 'changed'])).stdout).toBe('new')
    expect((await run(['get', store, 'batch:1'])).stdout).toBe('line one\nline "two"')
  })

  it('prints a value escaped on a terminal', async () => {
    const { stdout } = await run(['get', await fixtures.tiny(), 'batch:1'], { columns: 80 })

    expect(stdout).toBe('line one\\nline \\"two\\"\n')
  })

  it('takes and prints hexadecimal digits with --hex', async () => {
    const { status, stdout } = await run(['get', await fixtures.tiny(), HEX_KEY, '--hex'])

    expect(status).toBe(0)
    expect(stdout).toBe(`${HEX_VALUE}\n`)
  })

  it('prints an entry with --json', async () => {
    const store = await fixtures.tiny()

    const text = await run(['get', store, 'session', '--json'])
    const bytes = await run(['get', store, HEX_KEY, '--hex', '--json'])

    expect(JSON.parse(text.stdout)).toEqual({ key: 'session', value: 'open', expiresAt: FUTURE_MS })
    expect(JSON.parse(bytes.stdout)).toEqual({
      key: { base64: BINARY_KEY.toString('base64') },
      value: { base64: BINARY_VALUE.toString('base64') },
    })
  })

  it.each(['nowhere', 'gone', 'expired'])('says that the key %s does not exist', async (key) => {
    const { status, stdout, stderr } = await run(['get', await fixtures.tiny(), key])

    expect(status).toBe(3)
    expect(stdout).toBe('')
    expect(stderr).toBe(`There is no key ${key}\n`)
  })
})

describe('firkin put', () => {
  it('puts a value and closes the store in good order', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())

    const { status, stdout, stderr } = await run(['put', store, 'new', 'value'])

    expect([status, stdout, stderr]).toEqual([0, '', ''])
    expect((await run(['get', store, 'new'])).stdout).toBe('value')
    expect((await run(['inspect', store])).stdout).toContain('closed in good order')
  })

  it('takes the value from standard input', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const value = Buffer.from([0, 1, 254, 255, 10])

    await run(['put', store, 'piped'], { input: value })
    await run(['put', store, 'dash', '-'], { input: 'dashed' })

    expect((await run(['get', store, 'piped', '--json'])).stdout).toContain(
      value.toString('base64'),
    )
    expect((await run(['get', store, 'dash'])).stdout).toBe('dashed')
  })

  it('takes hexadecimal digits with --hex, and a time to live with --ttl', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const before = Date.now()

    const { stdout } = await run(['put', store, '6b', '0102', '--hex', '--ttl', '2h', '--json'])

    expect(stdout).toBe('{"put":1}\n')
    const entry = JSON.parse((await run(['get', store, 'k', '--json'])).stdout)
    expect(entry.value).toBe('\u0001\u0002')
    expect(entry.expiresAt - before).toBeGreaterThanOrEqual(7_200_000)
    expect(entry.expiresAt - before).toBeLessThan(7_300_000)
  })

  it('creates a store only with --create', async () => {
    const directory = await fixtures.path()

    const refused = await run(['put', directory, 'k', 'v'])
    const created = await run(['put', directory, 'k', 'v', '--create'])

    expect(refused.status).toBe(1)
    expect(created.status).toBe(0)
    expect((await run(['get', directory, 'k'])).stdout).toBe('v')
  })

  it('keeps the kind of the keydir', async () => {
    const directory = await fixtures.path()
    await run(['put', directory, 'k', 'v', '--create'])
    await (await openAny(directory, { keydir: 'hash' })).close()
    await run(['delete', directory, 'k'])

    expect((await run(['inspect', directory])).stdout).toMatch(/^keydir +hash$/m)
  })

  it('changes nothing when Ctrl-C comes before the value', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const interrupt = new AbortController()
    const input = new Readable({ read() {} })
    input.push('half of ')
    setImmediate(() => interrupt.abort())

    const { status, stderr } = await run(['put', store, 'plain'], {
      input,
      interrupt: interrupt.signal,
    })

    expect(status).toBe(130)
    expect(stderr).toBe('firkin: Interrupted\n')
    expect((await run(['get', store, 'plain'])).stdout).toBe('a value')
  })

  it('says that a store is in use, and by which process', async () => {
    const directory = await fixtures.path()
    await using store = await openBytes(directory)
    await fillTiny(store)

    for (const argv of [
      ['put', directory, 'k', 'v'],
      ['delete', directory, 'plain'],
      ['merge', directory],
      ['import', directory],
      ['repair', directory],
      ['repair', directory, '--dry-run'],
      ['shell', directory],
    ]) {
      const { status, stderr } = await run(argv)

      expect(status).toBe(1)
      expect(stderr).toMatch(
        new RegExp(`^firkin: In use: The store in ${directory} is open .*process .*since `),
      )
    }
    expect(store.get('plain')?.toString()).toBe('a value')
  })

  it('says what it had to cut off', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())
    const path = join(store, '0000000001.segment')
    await appendFile(path, 'unfinished')

    const { status, stderr } = await run(['put', store, 'k', 'v'])

    expect(status).toBe(0)
    expect(stderr).toBe(`${path}: cut 10 B that a crash had left unfinished\n`)
  })
})

describe('firkin delete', () => {
  it('deletes keys, and prints how many there were', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())

    const { status, stdout } = await run(['delete', store, 'plain', 'nowhere', 'changed', 'plain'])
    const hex = await run(['delete', store, HEX_KEY, '--hex', '--json'])

    expect(status).toBe(0)
    expect(stdout).toBe('2\n')
    expect(hex.stdout).toBe('{"deleted":1}\n')
    expect((await run(['count', store])).stdout).toBe('3\n')
  })
})

describe('firkin scan', () => {
  it('prints entries in key order, escaped', async () => {
    const { status, stdout } = await run(['scan', await fixtures.tiny()])

    expect(status).toBe(0)
    expect(linesOf(stdout)).toEqual([
      '\\x00\\xff\\x10\t\\xfe\\x00\\"\\n\\t',
      'batch:1\tline one\\nline \\"two\\"',
      'batch:2\tß日本\\\\',
      'changed\tnew',
      'plain\ta value',
      'session\topen',
    ])
  })

  it.each([
    [
      ['--prefix', 'batch:'],
      ['batch:1', 'batch:2'],
    ],
    [
      ['--prefix', 'batch:', '--reverse'],
      ['batch:2', 'batch:1'],
    ],
    [
      ['--gt', 'changed'],
      ['plain', 'session'],
    ],
    [
      ['--gte', 'changed', '--lt', 'session'],
      ['changed', 'plain'],
    ],
    [
      ['--gte', 'batch:2', '--lte', 'changed'],
      ['batch:2', 'changed'],
    ],
    [['--gt', 'z'], []],
    [
      ['--reverse', '--limit', '2'],
      ['session', 'plain'],
    ],
    [['--limit', '0'], []],
  ])('prints the range %j', async (options, keys) => {
    const store = await fixtures.tiny()

    const { stdout } = await run(['scan', store, '--keys', ...options])
    const counted = await run(['count', store, ...options.filter((word) => word !== '--reverse')])

    expect(stdout).toBe(keys.map((key) => `${key}\n`).join(''))
    expect(counted.stdout).toBe(`${keys.length}\n`)
  })

  it('takes and prints hexadecimal digits with --hex', async () => {
    const { stdout } = await run(['scan', await fixtures.tiny(), '--hex', '--prefix', '00'])

    expect(stdout).toBe(`${HEX_KEY}\t${HEX_VALUE}\n`)
  })

  it('prints only values with --values', async () => {
    const { stdout } = await run(['scan', await fixtures.tiny(), '--values', '--gt', 'c'])

    expect(stdout).toBe('new\na value\nopen\n')
  })

  it('prints one object per line with --json', async () => {
    const store = await fixtures.tiny()
    const range = ['--gte', 'plain', '--json']

    const entries = await run(['scan', store, ...range])
    const keys = await run(['scan', store, ...range, '--keys'])
    const values = await run(['scan', store, ...range, '--values'])

    expect(linesOf(entries.stdout).map((line) => JSON.parse(line))).toEqual([
      { key: 'plain', value: 'a value' },
      { key: 'session', value: 'open', expiresAt: FUTURE_MS },
    ])
    expect(keys.stdout).toBe('{"key":"plain"}\n{"key":"session"}\n')
    expect(values.stdout).toBe('{"value":"a value"}\n{"value":"open"}\n')
  })

  it('reads settled writes beside a writer', async () => {
    const directory = await fixtures.path()
    await using store = await openBytes(directory)
    await fillTiny(store)

    const { status, stdout } = await run(['scan', directory, '--keys'])
    await store.put('later', Buffer.from('x'))
    const later = await run(['count', directory])

    expect(status).toBe(0)
    expect(linesOf(stdout)).toHaveLength(6)
    expect(later.stdout).toBe('7\n')
  })
})

describe('firkin count', () => {
  it('counts keys that have not expired', async () => {
    const store = await fixtures.large()

    expect((await run(['count', store])).stdout).toBe('1476\n')
    expect((await run(['count', store, '--prefix', 'user:00'])).stdout).toBe('98\n')
    expect((await run(['count', store, '--prefix', '75', '--hex', '--json'])).stdout).toBe(
      '{"count":1470}\n',
    )
  })
})
