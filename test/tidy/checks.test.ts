/** Plants a violation of each check of the sources, and expects the check to find it. */

import { describe, expect, it } from 'vitest'
import {
  bannedWords,
  deadExports,
  importCycles,
  longBlocks,
  longLines,
  MAX_LINES,
  missingHeaders,
  realmTests,
  undocumentedExports,
} from './checks.ts'
import { blocksOf, exportsOf, importsOf, titlesOf } from './declarations.ts'
import { readSourceText } from './source-text.ts'

const source = (text: string, path = 'src/a.ts') => readSourceText(path, text)
const lines = (count: number, text: string) => `${text}\n`.repeat(count)

describe('a source text', () => {
  it('tells comments and literals from code', () => {
    const text = [
      'const a = "// not one" // one',
      `const b = \`text \${f({ c: '}' })} // text\` /* two */`,
      'const d = /[/*"]\\//.test(e) ? f / 2 / g : 1 // three',
      '// four',
    ].join('\n')

    const { code, comments } = source(text)

    expect(code.split('\n').map((line) => line.replace(/ +/g, ' ').trim())).toEqual([
      'const a =',
      'const b = f({ c: })',
      'const d = .test(e) ? f / 2 / g : 1',
      '',
    ])
    expect(comments.map((comment) => comment.text)).toEqual(['one', 'two', 'three', 'four'])
    expect(code).toHaveLength(text.length)
  })

  it('joins line comments that stand below one another', () => {
    const { comments } = source('// one\n// two\nf()\n/** three\n * four\n */')

    expect(comments.map(({ text, isDoc }) => [text, isDoc])).toEqual([
      ['one two', false],
      ['three four', true],
    ])
  })
})

describe('the declarations of a source', () => {
  it('are functions, methods, callbacks and classes, with their lines', () => {
    const text = `
export async function first(
  a: number,
): Promise<{
  b: number
}> {
  if (a) {
    return call(async ({ c }) => {
      d()
    })
  }
}

export class Second<T>
  extends Third
{
  static #method<T>(a: () => void): T {
    return { b: c(d), e: {} }
  }

  get value() {
    for (const a of b) {
      c()
    }
  }
}
`
    expect(
      blocksOf(source(text)).map(({ name, line, lineCount }) => [name, line, lineCount]),
    ).toEqual([
      ['first', 2, 11],
      ['call', 8, 3],
      ['Second', 14, 13],
      ['method', 17, 3],
      ['value', 21, 5],
    ])
  })

  it('are exports, documented or not', () => {
    const text =
      '/** A. */\nexport const a = 1\n\nexport type B = 2\n/** C. */\nexport function c(d: 1): 1\n' +
      'export function c(d: 2): 2\nexport { e as f } from "./e.ts"\nexport { g }\n'

    expect(exportsOf(source(text)).map(({ name, isDocumented }) => [name, isDocumented])).toEqual([
      ['a', true],
      ['B', false],
      ['c', true],
      ['g', true],
    ])
  })

  it('are imports of every form', () => {
    const text = `
import a, { type B, c as d } from './one.ts'
import * as e from './two.ts'
export type { F } from './three.ts'
import './four.ts'
// import { g } from './five.ts'
type H = import('./six.ts').H
`
    expect(importsOf(source(text))).toEqual([
      { path: './one.ts', names: ['B', 'c'] },
      { path: './two.ts', names: ['*'] },
      { path: './three.ts', names: ['F'] },
      { path: './four.ts', names: ['*'] },
      { path: './six.ts', names: ['*'] },
    ])
  })

  it('are titles of tests', () => {
    const text = "describe('a', () => {})\nit.each([['b', f(1)]])('c %s', () => {})\ng('d')\n"

    expect(titlesOf(source(text)).map((title) => title.text)).toEqual(['a', 'c %s'])
  })
})

describe('the checks of the sources', () => {
  it('find a test for an instance of a built-in class, but not of another', () => {
    const text =
      '// instanceof Date\nconst a = b instanceof StoreError || b instanceof\nc instanceof Map\n'

    expect(realmTests(source(text))).toEqual(['src/a.ts:3 Map'])
  })

  it('find a long line, of code or of a comment, but not a long literal or address', () => {
    const long = 'word '.repeat(21)

    expect(
      longLines(source(`// ${long}\nf('${long}')\n// https://${long.replaceAll(' ', '-')}`)),
    ).toEqual(['src/a.ts:1 has 107 columns'])
    expect(longLines(source(`f(${'a, '.repeat(33)})`))).toHaveLength(1)
  })

  it('find a long function, method or class', () => {
    const body = (count: number) => lines(count - 2, '    a()')
    const { function: most, class: mostOfClass } = MAX_LINES
    const text = (extra: number) =>
      `function b() {\n${body(most + extra)}}\n` +
      `class C {\n  d() {\n${body(most + extra)}  }\n${body(mostOfClass - most + extra)}}\n`

    expect(longBlocks(source(text(0)))).toEqual([])
    expect(longBlocks(source(text(1)))).toEqual([
      'src/a.ts function b: 71 lines',
      'src/a.ts class C: 452 lines',
      'src/a.ts function d: 71 lines',
    ])
  })

  it('find an export without a docstring', () => {
    expect(undocumentedExports(source('/** File. */\n\nexport class A {}\n'))).toEqual([
      'src/a.ts:3 A',
    ])
  })

  it('find a file without a header', () => {
    expect(missingHeaders(source('import a\n/** A. */\n'))).toEqual(['src/a.ts'])
    expect(missingHeaders(source('#!/usr/bin/env node\n/** A. */\n'))).toEqual([])
  })

  it('find a dead export, whatever the file itself makes of it', () => {
    const files = [
      source('export const a = 1\nexport const b = a\nexport const c = 1\n'),
      source("import { b } from '../dist/src/a.js'\n", 'bench/b.js'),
      source('export const d = 1\n', 'src/index.ts'),
      source("export * from './e.ts'\n", 'src/d.ts'),
      source('export const e = 1\n', 'src/e.ts'),
      source("import { f } from './f.ts'\nexport const f = 1", 'src/f.ts'),
    ]

    expect(deadExports(files, files, ['src/index.ts'])).toEqual([
      'src/a.ts:1 a',
      'src/a.ts:3 c',
      'src/f.ts:2 f',
    ])
  })

  it('find a cycle of imports, of types too', () => {
    const cycle = [
      source("import type { B } from './b.ts'\n"),
      source("export { C } from './folder/c.ts'\n", 'src/b.ts'),
      source("import { A } from '../a.ts'\n", 'src/folder/c.ts'),
      source("import { A } from './a.ts'\n", 'src/d.ts'),
    ]

    expect(importCycles(cycle)).toEqual([
      'src/folder/c.ts -> src/a.ts -> src/b.ts -> src/folder/c.ts',
    ])
    expect(importCycles(cycle.slice(1))).toEqual([])
  })

  it.each([
    '// Loads it anew.',
    '// Waits for so many bytes.',
    '// All but for one.',
    '// There is room for it.',
    '// It is no key.',
    '/** Answers the size. */',
    '/** Looks, and answers whether it is there. */',
    '/** Looks; answers the size. */',
    '/** Tells how it went. */',
    '// It waits, for it is busy.',
    '// The bytes behind the header.',
    '/** What is left. */',
    '/** How it works. */\nexport class A {}',
    '/** Whether it is read. */\nexport interface A {}',
    "it('has room for it', () => {})",
    `describe.each([1])(\`is no \${thing}\`, () => {})`,
  ])('find what plain English does without: %s', (text) => {
    expect(bannedWords(source(`\n${text}\n`))).toHaveLength(1)
  })

  it.each([
    "f('anew')",
    '// The variable `room`.',
    '// There is no key; it is no longer there.',
    '// Merging falls behind, and leaves no files behind.',
    '// It may be behind a symbolic link.',
    '// Both its answers are right.',
    '// It is not for reading, but for writing.'.replace('but for', 'but meant for'),
    '/** Whether it is read. */\nreadonly a: boolean',
    '/** How long it is kept. */\nreadonly b: number',
  ])('find nothing wrong in: %s', (text) => {
    expect(bannedWords(source(`\n${text}\n`))).toEqual([])
  })
})
