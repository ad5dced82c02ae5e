import { existsSync, readFileSync } from 'node:fs'
import { lstat, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, it, vi } from 'vitest'
import { Interrupted } from '../../tools/failure.ts'
import { BINARY_KEY, BINARY_VALUE, Fixtures, FUTURE_MS } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()

const TINY = [
  JSON.stringify({
    key: { base64: BINARY_KEY.toString('base64') },
    value: { base64: BINARY_VALUE.toString('base64') },
  }),
  '{"key":"batch:1","value":"line one\\nline \\"two\\""}',
  '{"key":"batch:2","value":"ß日本\\\\"}',
  '{"key":"changed","value":"new"}',
  '{"key":"plain","value":"a value"}',
  `{"key":"session","value":"open","expiresAt":${FUTURE_MS}}`,
]

/** Returns lines of NDJSON with `count` entries. */
function ndjson(count: number): string {
  return Array.from(
    { length: count },
    (_, index) => `{"key":"k${index}","value":"v${index}"}\n`,
  ).join('')
}

describe('firkin export', () => {
  it('writes newline-delimited JSON with expiry, and base64 for bytes that are not UTF-8', async () => {
    const { status, stdout, stderr } = await run(['export', await fixtures.tiny()])

    expect(status).toBe(0)
    expect(linesOf(stdout)).toEqual(TINY)
    expect(stderr).toBe('Exported 6 entries\n')
  })

  it('writes CSV with a header', async () => {
    const options = ['--format', 'csv', '--gte', 'batch:1', '--key', 'id', '--value', 'text']

    const { status, stdout } = await run(['export', await fixtures.tiny(), ...options])

    expect(status).toBe(0)
    expect(stdout).toBe(
      'id,text,expiresAt\n' +
        'batch:1,"line one\nline ""two""",\n' +
        'batch:2,ß日本\\,\n' +
        'changed,new,\n' +
        'plain,a value,\n' +
        `session,open,${FUTURE_MS}\n`,
    )
  })

  it('refuses bytes in CSV without --base64', async () => {
    const argv = ['export', await fixtures.tiny(), '--format', 'csv', '--limit', '1']

    const refused = await run(argv)
    const written = await run([...argv, '--base64', '--expiry', 'until'])

    expect(refused.status).toBe(1)
    expect(refused.stderr).toMatch(
      /^firkin: A key or value is not UTF-8, .* --base64, or NDJSON\n$/,
    )
    expect(written.stdout).toBe(
      `key,value,until\n${BINARY_KEY.toString('base64')},${BINARY_VALUE.toString('base64')},\n`,
    )
  })

  it('exports a range', async () => {
    const store = await fixtures.tiny()

    const prefix = await run(['export', store, '--prefix', 'batch:', '--limit', '1', '--quiet'])
    const hex = await run(['export', store, '--hex', '--lt', '62'])

    expect(linesOf(prefix.stdout)).toEqual([TINY[1]])
    expect(prefix.stderr).toBe('')
    expect(linesOf(hex.stdout)).toEqual([TINY[0]])
  })

  it('writes a file that appears once it is whole, and replaces none', async () => {
    const file = `${await fixtures.path()}.csv.gz`
    const argv = ['export', await fixtures.large(), '--prefix', 'user:', '--output', file]

    const first = await run(argv)
    const again = await run(argv)
    const forced = await run([...argv, '--force'])

    expect([first.status, first.stdout]).toEqual([0, ''])
    expect(first.stderr).toBe(`Exported 1,470 entries to ${file}\n`)
    expect(linesOf(gunzipSync(await readFile(file)).toString())).toHaveLength(1471)
    expect(again.status).toBe(1)
    expect(again.stderr).toBe(`firkin: ${file} exists; --force replaces it\n`)
    expect(forced.status).toBe(0)
  })

  it('writes to the target of a link, and into a device', async () => {
    const directory = await fixtures.copyOf(fixtures.tiny())
    const [file, link] = [join(directory, 'file.ndjson'), join(directory, 'link.ndjson')]
    await writeFile(file, 'old')
    await symlink(file, link)

    const linked = await run(['export', directory, '-o', link, '--force'])
    const device = await run(['export', directory, '-o', '/dev/null', '--force'])
    const taken = await run(['export', directory, '-o', directory, '--force'])

    expect([linked.status, device.status]).toEqual([0, 0])
    expect(linesOf(await readFile(file, 'utf8'))).toEqual(TINY)
    expect((await lstat(link)).isSymbolicLink()).toBe(true)
    expect((await lstat('/dev/null')).isCharacterDevice()).toBe(true)
    expect([taken.status, taken.stderr]).toEqual([1, `firkin: ${directory}: it is a directory\n`])
  })

  it('does not write compressed bytes to a terminal', async () => {
    const argv = ['export', await fixtures.tiny(), '--gzip']

    const onTerminal = await run(argv, { columns: 80 })
    const piped = await run(argv, { columns: 80, outputIsTerminal: false })

    expect(onTerminal.status).toBe(2)
    expect(onTerminal.stdout).toBe('')
    expect(piped.status).toBe(0)
  })

  it('leaves no file if it cannot be written', async () => {
    const directory = await fixtures.path()
    const file = join(directory, 'in a directory that is not there.ndjson')

    const { status, stderr } = await run(['export', await fixtures.tiny(), '-o', file])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: Cannot write ${file}: there is no such file or directory\n`)
  })

  it('says why a file cannot be written', async () => {
    const directory = await fixtures.copyOf(fixtures.tiny())
    const csv = join(directory, 'x.csv')
    const long = join(directory, `${'x'.repeat(300)}.ndjson`)
    const notText = 'A key or value is not UTF-8, which CSV cannot hold: use --base64, or NDJSON'

    const refused = await run(['export', directory, '-o', csv])
    const tooLong = await run(['export', directory, '-o', long])
    const full = await run(['export', directory, '-o', '/dev/full', '--force'])

    expect([refused.status, refused.stderr]).toEqual([1, `firkin: ${notText}\n`])
    expect(tooLong.stderr).toBe(`firkin: Cannot write ${long}: the name is too long\n`)
    expect(full.stderr).toBe('firkin: Cannot write /dev/full: no space is left on the device\n')
    expect(existsSync(csv)).toBe(false)
  })

  it('leaves no file when Ctrl-C ends it', async () => {
    const directory = await fixtures.copyOf(fixtures.tiny())
    const file = join(directory, 'out.ndjson')
    const interrupt = new AbortController()
    setImmediate(() => interrupt.abort())

    const { status, stderr } = await run(['export', await fixtures.large(), '-o', file], {
      interrupt: interrupt.signal,
    })

    expect(status).toBe(130)
    expect(stderr).toBe(`firkin: Interrupted. ${file} was not written\n`)
    expect((await readdir(directory)).filter((name) => name.startsWith('out'))).toEqual([])
  })
})

/** Calls `then` once a stream's data so far has been read. */
async function whenReadTo(stream: Readable, then: () => void): Promise<void> {
  await vi.waitUntil(() => stream.readableDidRead && stream.readableLength === 0)
  then()
}

describe('firkin import', () => {
  it.each([
    ['NDJSON', []],
    ['gzipped NDJSON', ['--gzip']],
    ['CSV', ['--format', 'csv', '--base64']],
    ['gzipped CSV', ['--format', 'csv', '--base64', '--gzip', '--key', 'k', '--value', 'v']],
  ])('brings back as %s exactly what was exported', async (_name, options) => {
    const file = await fixtures.path()
    const target = await fixtures.path()
    await run(['export', await fixtures.large(), '--output', file, ...options])

    const imported = await run(['import', target, file, '--batch', '100', ...options])
    const before = await run(['export', await fixtures.large()])
    const after = await run(['export', target])

    expect(imported.status).toBe(0)
    expect(imported.stderr).toBe('Imported 1,476 records\n')
    expect(after.stdout).toBe(before.stdout)
    expect((await run(['verify', target])).status).toBe(0)
    expect(await readdir(target)).not.toContain('import.json')
  })

  it('takes standard input, and overwrites entries', async () => {
    const store = await fixtures.copyOf(fixtures.tiny())

    const { status, stdout } = await run(['import', store, '-', '--json'], {
      input: '\n{"key":"plain","value":"imported"}\n\n{"key":"last","value":"no line end"}',
    })

    expect(status).toBe(0)
    expect(stdout).toBe('{"records":2,"skipped":0}\n')
    expect((await run(['get', store, 'plain'])).stdout).toBe('imported')
    expect((await run(['get', store, 'last'])).stdout).toBe('no line end')
  })

  it('takes any CSV that has the columns', async () => {
    const store = await fixtures.path()
    const input = '\ufeffname,id,age\r\n"Ada, L.",1,36\r\n"say ""hi""",2,\r\n\r\n'

    const { status } = await run(
      ['import', store, '--format', 'csv', '--key', 'id', '--value', 'name'],
      { input },
    )

    expect(status).toBe(0)
    expect((await run(['scan', store])).stdout).toBe('1\tAda, L.\n2\tsay \\"hi\\"\n')
  })

  it.each([
    ['NDJSON', '{"key":"a","value":"1"}\n{"key":"b","value":"\xe4"}\n', [], 'It is not UTF-8'],
    [
      'a CSV value',
      'key,value\nk,\xe4\n',
      ['--format', 'csv'],
      'The value is not UTF-8; bytes go in as base64, by --base64',
    ],
    [
      'a CSV key',
      'key,value\n\xff,\n',
      ['--format', 'csv', '--base64'],
      'The key is not UTF-8; bytes go in as base64, by --base64',
    ],
    ['a key', '\n{"key":"\\ud800","value":"1"}', [], 'key has a lone surrogate'],
    ['a value', '\n{"key":"k","value":"\\udc00x"}', [], 'value has a lone surrogate'],
  ])('refuses %s that is not text, by its line', async (_name, text, options, message) => {
    const store = await fixtures.path()
    const input = Buffer.from(text, 'latin1')

    const { status, stderr } = await run(['import', store, ...options], { input })

    expect([status, linesOf(stderr).at(-1)]).toEqual([1, `firkin: Line 2: ${message}`])
    expect((await run(['count', store])).stdout).toBe('0\n')
  })

  it('keeps every key distinct', async () => {
    const store = await fixtures.path()
    const keys = ['\\ufffd', '\\ud83c\\udf7a', '\\ud800', '\\udfff']

    for (const key of keys) await run(['import', store], { input: `{"key":"${key}","value":""}` })

    expect((await run(['scan', store, '--keys'])).stdout).toBe('\\u{fffd}\n🍺\n')
  })

  it.each([
    ['NDJSON', '\ufeff{"key":"k","value":"v"}\n', []],
    ['CSV', '\ufeff"key",value\nk,v\n', ['--format', 'csv']],
    ['gzipped NDJSON', gzipSync('\ufeff{"key":"k","value":"v"}\n'), ['--gzip']],
  ])('skips the byte order mark before %s', async (_name, input, options) => {
    const store = await fixtures.path()

    const { status } = await run(['import', store, ...options], { input })

    expect([status, (await run(['scan', store])).stdout]).toEqual([0, 'k\tv\n'])
  })

  describe.each([
    ['NDJSON', ndjson(5), []],
    ['CSV', 'key,value\na,1\nb,2\n', ['--format', 'csv']],
    ['gzipped NDJSON', gzipSync(ndjson(5)), ['--gzip']],
    ['gzipped CSV', gzipSync('key,value\na,1\n'), ['--gzip', '--format', 'csv']],
  ])('of %s', (_name, begin, options) => {
    it('prints one message when its input fails', async () => {
      const failed = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
      const input = new Readable({ read() {} })
      input.push(begin)
      const ending = whenReadTo(input, () => input.destroy(failed))

      const { status, stderr } = await run(['import', await fixtures.path(), ...options], { input })
      await ending

      expect([status, stderr]).toEqual([1, 'Nothing was imported\nfirkin: the device failed\n'])
    })

    it('prints one message when Ctrl-C comes while it reads', async () => {
      const interrupt = new AbortController()
      const input = new Readable({ read() {} })
      input.push(begin)
      const ending = whenReadTo(input, () => interrupt.abort(new Interrupted()))

      const { status, stderr } = await run(['import', await fixtures.path(), ...options], {
        input,
        interrupt: interrupt.signal,
      })
      await ending

      expect([status, stderr]).toEqual([130, 'firkin: Interrupted. Nothing was imported\n'])
    })

    it('prints one message when Ctrl-C comes before', async () => {
      const input = new Readable({ read() {} })

      const { status, stderr } = await run(['import', await fixtures.path(), ...options], {
        input,
        interrupt: AbortSignal.abort(new Interrupted()),
      })

      expect([status, stderr]).toEqual([130, 'firkin: Interrupted. Nothing was imported\n'])
    })
  })

  it('says in one message that a file is not gzip, is cut, or is gone', async () => {
    const file = `${await fixtures.path()}.csv.gz`
    const ends: Record<string, string | Buffer> = {
      'incorrect header check': 'key,value\na,1\n',
      'unexpected end of file': gzipSync('key,value\na,1\n').subarray(0, 20),
    }

    for (const [reason, bytes] of Object.entries(ends)) {
      await writeFile(file, bytes)
      const { status, stderr } = await run(['import', await fixtures.path(), file])

      const message = `firkin: The input is not sound gzip: ${reason}`
      expect([status, linesOf(stderr).at(-1), linesOf(stderr).length]).toEqual([1, message, 2])
    }
  })

  it.each([
    ['Line 2: ', '{"key":"a","value":"b"}\nno json\n', []],
    ['Line 1: key is neither a string nor an object with base64', '{"value":"b"}', []],
    ['Line 1: value is neither', '{"key":"a","value":{"base64":"?"}}', []],
    ['Line 1: expiresAt is not a number', '{"key":"a","value":"b","expiresAt":"x"}', []],
    ['Line 1: It is not an object', 'null', []],
    ['Record 1: Key is empty; the least is 1 byte', '{"key":"","value":"b"}', []],
    ['There is no column key; the columns are a, b', 'a,b\n1,2\n', ['--format', 'csv']],
    ['Line 2: x is not a time', 'key,value,expiresAt\na,b,x\n', ['--format', 'csv']],
    ['Line 2: ? is not base64', 'key,value\n?,b\n', ['--format', 'csv', '--base64']],
    ['Invalid Record Length', 'key,value\na\n', ['--format', 'csv']],
    [
      'Invalid Opening Quote: a quote is found on field 0 at line 2\n',
      'key,value\na"b,1\n',
      ['--format', 'csv'],
    ],
    ['The input is not sound gzip', 'plain', ['--gzip']],
  ])('says where the input is wrong: %s', async (message, input, options) => {
    const { status, stderr } = await run(['import', await fixtures.path(), ...options], { input })

    expect(status).toBe(1)
    const lines = linesOf(stderr)
    expect(`${lines.at(-1)}\n`.startsWith(`firkin: ${message}`)).toBe(true)
    expect(lines).toHaveLength(2)
  })

  it('quotes no more of a huge input than fits into a message', async () => {
    const input = `${'a'.repeat(1_000_000)},b\n`

    const { status, stderr } = await run(['import', await fixtures.path(), '--format', 'csv'], {
      input,
    })

    expect(status).toBe(1)
    expect(stderr).toContain('firkin: There is no column key; the columns are aaa')
    expect(stderr.length).toBeLessThan(3000)
  })

  it('says that its file does not exist', async () => {
    const file = await fixtures.path()

    const { status, stderr } = await run(['import', await fixtures.path(), file])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: ${file}: there is no such file or directory\n`)
  })

  it('says that a directory is not a file, and creates no store', async () => {
    const directory = await fixtures.copyOf(fixtures.tiny())
    const store = await fixtures.path()

    const { status, stderr } = await run(['import', store, directory])

    expect(status).toBe(1)
    expect(stderr).toBe(`firkin: ${directory}: it is a directory\n`)
    expect(existsSync(store)).toBe(false)
  })

  it('goes on with --resume where it ended', async () => {
    const store = await fixtures.path()
    const lines = ndjson(250)

    const broken = await run(['import', store, '--batch', '100'], {
      input: `${linesOf(lines).slice(0, 230).join('\n')}\nbroken`,
    })
    const inBetween = await run(['count', store])
    const resumed = await run(['import', store, '--batch', '100', '--resume', '--json'], {
      input: lines,
    })

    expect(broken.status).toBe(1)
    expect(broken.stderr).toContain(
      '200 records of the input were imported; --resume continues after',
    )
    expect(inBetween.stdout).toBe('200\n')
    expect(resumed.stdout).toBe('{"records":250,"skipped":200}\n')
    expect((await run(['count', store])).stdout).toBe('250\n')
    expect(await readdir(store)).not.toContain('import.json')
  })

  it('does not go on with another input, or a shorter one', async () => {
    const store = await fixtures.path()
    await run(['import', store, '--batch', '100'], { input: `${ndjson(100)}broken` })
    const message = 'The input is not the one that was begun with: its first 100 records differ'

    for (const input of [ndjson(150).replace('v7"', 'x7"'), ndjson(50)]) {
      const { status, stderr } = await run(['import', store, '--resume'], { input })

      expect(status).toBe(1)
      expect(stderr).toContain(`firkin: ${message}\n`)
    }
    expect((await run(['count', store])).stdout).toBe('100\n')
  })

  it('begins at the beginning if there is nothing to resume', async () => {
    const store = await fixtures.path()
    await run(['import', store], { input: ndjson(5) })
    await writeFile(join(store, 'import.json'), '{"rec')

    const { stdout } = await run(['import', store, '--resume', '--json'], { input: ndjson(9) })

    expect(stdout).toBe('{"records":9,"skipped":0}\n')
  })

  it('keeps whole batches when Ctrl-C ends it, and says how many', async () => {
    const store = await fixtures.path()
    const interrupt = new AbortController()
    const lines = ndjson(250)
    const input = new Readable({ read() {} })
    input.push(lines)
    const progress = join(store, 'import.json')
    // Two of its batches are full; the rest of the input never comes.
    const ending = setInterval(() => {
      if (existsSync(progress) && readFileSync(progress, 'utf8').includes('"records":200,')) {
        interrupt.abort()
      }
    }, 5)

    const ended = await run(['import', store, '--batch', '100'], {
      input,
      interrupt: interrupt.signal,
    })
    clearInterval(ending)
    const resumed = await run(['import', store, '--resume', '--json'], { input: lines })

    expect(ended.status).toBe(130)
    expect(ended.stderr).toBe(
      'firkin: Interrupted. 200 records of the input were imported; --resume continues after them\n',
    )
    expect(resumed.stdout).toBe('{"records":250,"skipped":200}\n')
  })

  it('shows progress on a terminal', async () => {
    const file = `${await fixtures.path()}.ndjson`
    await writeFile(file, ndjson(500))

    const ofFile = await run(['import', await fixtures.path(), file], { columns: 100 })
    const ofPipe = await run(['import', await fixtures.path()], { columns: 100, input: ndjson(9) })

    expect(ofFile.stderr).toMatch(/import █.*% /)
    expect(ofPipe.stderr).toMatch(/import \d+ B {2}/)
    expect(ofPipe.stderr).not.toContain('%')
  })

  it('reads input that gzip has compressed', async () => {
    const store = await fixtures.path()

    await run(['import', store, '--gzip'], { input: gzipSync(ndjson(3)) })

    expect((await run(['count', store])).stdout).toBe('3\n')
  })
})
