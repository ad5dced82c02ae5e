import { describe, expect, it } from 'vitest'
import { describeFailure, UsageError } from '../../tools/failure.ts'
import { layOut, wrap } from '../../tools/table.ts'
import {
  escapeBytes,
  escapePieces,
  formatDuration,
  formatMoment,
  formatSize,
  hexPieces,
  parseCount,
  parseDuration,
  parseHex,
  showJson,
  showText,
} from '../../tools/text.ts'

describe('escaped bytes', () => {
  it.each([
    ['plain text', 'plain text'],
    ['ß 日本 😀', 'ß 日本 😀'],
    ['a\tb\nc\rd', 'a\\tb\\nc\\rd'],
    ['say "\\"', 'say \\"\\\\\\"'],
    ['\u001b[31m', '\\x1b[31m'],
    ['\u0085\u202e\u2028\ufeff', '\\u{85}\\u{202e}\\u{2028}\\u{feff}'],
  ])('show %j as %s', (text, escaped) => {
    expect(escapeBytes(Buffer.from(text))).toBe(escaped)
  })

  it.each([
    ['00ff10', '\\x00\\xff\\x10'],
    ['c3', '\\xc3'],
    ['61c3a4c362', 'aä\\xc3b'],
    ['f09f9880f09f98', '😀\\xf0\\x9f\\x98'],
    ['eda080', '\\xed\\xa0\\x80'],
  ])('show %s, which is not UTF-8, as %s', (hex, escaped) => {
    expect(escapeBytes(Buffer.from(hex, 'hex'))).toBe(escaped)
  })

  it('are the same in pieces, wherever a piece ends', () => {
    const pattern = Buffer.concat([Buffer.from('a日本😀'), Buffer.from([0xff])])
    const bytes = Buffer.alloc(200_000, pattern)

    for (const from of [0, 1, 2, 3, 5]) {
      const part = bytes.subarray(from)
      expect([...escapePieces(part)].join('')).toBe(escapeBytes(part))
      expect([...hexPieces(part)].join('')).toBe(part.toString('hex'))
    }
    expect([...escapePieces(bytes)].length).toBeGreaterThan(3)
  })
})

describe('foreign text', () => {
  it('is shown without characters that would act on the terminal', () => {
    expect(showText('a \u001b[31m "b" \\ \u202e ß')).toBe('a \\x1b[31m "b" \\ \\u{202e} ß')
  })

  it('keeps its meaning as JSON', () => {
    const value = { 'k\u009b': 'a\u001b[31m\u202e\u{e0001}ß"\\' }

    const shown = showJson(`${JSON.stringify(value)}\n`)

    expect(JSON.parse(shown)).toEqual(value)
    expect(shown).toMatch(/^[ -~ß]+\n$/)
  })
})

describe('figures', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1536 * 1024, '1.5 MiB'],
    [150 * 1024 ** 3, '150 GiB'],
    [5000 * 1024 ** 4, '5000 TiB'],
  ])('show %i bytes as %s', (bytes, shown) => {
    expect(formatSize(bytes, false)).toBe(shown)
    expect(formatSize(bytes, true)).toBe(String(bytes))
  })

  it.each([
    [0.0125, '13 us'],
    [1.25, '1.3 ms'],
    [250, '250 ms'],
    [59_900, '59.9 s'],
    [61_000, '1 min 1 s'],
    [7_260_000, '2 h 1 min'],
  ])('show %d milliseconds as %s', (milliseconds, shown) => {
    expect(formatDuration(milliseconds)).toBe(shown)
  })

  it('show times in UTC, and none as a dash', () => {
    expect(formatMoment(Date.UTC(2024, 1, 29, 12))).toBe('2024-02-29T12:00:00.000Z')
    expect(formatMoment(0)).toBe('-')
    expect(formatMoment(Number.POSITIVE_INFINITY)).toBe('-')
    expect(formatMoment(2 ** 48)).toBe('+010889-08-02T05:31:50.656Z')
    expect(formatMoment(2 ** 53)).toBe('9007199254740992')
  })

  it('are read in the form in which people write them', () => {
    expect(['250ms', '1.5s', '5m', '2h', '7d'].map(parseDuration)).toEqual([
      250, 1500, 300_000, 7_200_000, 604_800_000,
    ])
    expect(parseCount('12')).toBe(12)
    expect(parseHex('00Ff')).toEqual(Buffer.from([0, 255]))
    for (const wrong of ['5', '-1s', '0s', 'x', '']) {
      expect(() => parseDuration(wrong)).toThrow(UsageError)
    }
    for (const wrong of ['', '-1', '1.5', '9'.repeat(20)]) {
      expect(() => parseCount(wrong)).toThrow(UsageError)
    }
    expect(() => parseHex('0')).toThrow(UsageError)
  })
})

describe('a table', () => {
  const columns = [
    { title: 'id', align: 'right' },
    { title: 'name', flexible: true },
  ] as const
  const rows = [
    ['1', 'a rather long name'],
    ['20', 'short'],
  ]
  const plain = (title: string): string => title

  it('has its columns aligned', () => {
    expect(layOut(columns, rows, 80, plain)).toEqual([
      'id  name',
      ' 1  a rather long name',
      '20  short',
    ])
  })

  it('cuts flexible columns', () => {
    expect(layOut(columns, rows, 14, plain)).toEqual(['id  name', ' 1  a rather …', '20  short'])
  })

  it('becomes several tables if one is too wide, each with the first column', () => {
    const wide = [...columns, { title: 'size', align: 'right' }, { title: 'hint' }] as const
    const more = [
      ['1', 'a rather long name', '64 KiB', 'sound'],
      ['20', 'short', '1 KiB', '-'],
    ]

    expect(layOut(wide, more, 30, plain)).toEqual([
      'id  name           size  hint',
      ' 1  a rather l…  64 KiB  sound',
      '20  short         1 KiB  -',
    ])
    expect(layOut(wide, more, 22, plain)).toEqual([
      'id  name',
      ' 1  a rather long name',
      '20  short',
      '',
      'id    size  hint',
      ' 1  64 KiB  sound',
      '20   1 KiB  -',
    ])
  })

  it('becomes blocks if that is not enough', () => {
    expect(layOut(columns, rows, 10, plain)).toEqual([
      'id    1',
      'name  a r…',
      '',
      'id    20',
      'name  sho…',
      '',
    ])
  })
})

describe('wrapped text', () => {
  it('breaks between words, and within a word that is too long', () => {
    expect(wrap('one two three', 7)).toEqual(['one two', 'three'])
    expect(wrap('abcdefghij', 4)).toEqual(['abcd', 'efgh', 'ij'])
    expect(wrap('short', 80)).toEqual(['short'])
  })
})

describe('a failure', () => {
  it('states the reason of the operating system once, in words', () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
    })

    expect(describeFailure(full).message).toBe('no space is left on the device')
    expect(describeFailure(new Error('Cannot write x', { cause: full })).message).toBe(
      'Cannot write x: no space is left on the device',
    )
    expect(describeFailure(new Error(`Undone: ${full.message}`, { cause: full })).message).toBe(
      'Undone: no space is left on the device',
    )
  })

  it('is the first error, not one from disposing of resources', () => {
    const first = new Error('first')
    const both = Object.assign(new Error('both'), {
      name: 'SuppressedError',
      error: new Error('second'),
      suppressed: first,
    })

    expect(describeFailure(both)).toEqual({ message: 'first', status: 1 })
  })

  it('is one line', () => {
    expect(describeFailure(new Error('one\n  two')).message).toBe('one; two')
  })
})
