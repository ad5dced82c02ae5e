/**
 * Tests that the pages give every public method a signature, a sentence and an example, and that
 * the examples run, print what their comments say, and are strict TypeScript.
 */

import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FirkinLevel } from '../src/adapters/abstract-level.ts'
import { FirkinChainedBatch } from '../src/adapters/level/batch.ts'
import { EntryIterator } from '../src/adapters/level/iterators.ts'
import { LevelSnapshot } from '../src/adapters/level/snapshot.ts'
import { firkinDriver } from '../src/adapters/unstorage.ts'
import * as firkin from '../src/index.ts'
import {
  ADAPTERS,
  CACHE,
  codeIn,
  PAGES,
  type Part,
  partsOf,
  ROOT,
  readPage,
  STORE,
} from './support/pages.ts'

const run = promisify(execFile)

/** The classes that programs use: their page, their declaration, and their name in its examples. */
const CLASSES = [
  [STORE, 'store/store', 'Store', 'store'],
  [STORE, 'store/batch', 'WriteBatch', 'batch'],
  [STORE, 'store/snapshot', 'Snapshot', 'snapshot'],
  [STORE, 'store/view-reader', 'RangeIterator', 'iterator'],
  [CACHE, 'cache/cache', 'PersistentCache', 'cache'],
  [ADAPTERS, 'adapters/keyv', 'KeyvFirkin', 'adapter'],
  [ADAPTERS, 'adapters/undici', 'FirkinCacheStore', 'store'],
] as const

const FUNCTIONS = [
  [STORE, 'store/store', 'open'],
  [CACHE, 'cache/cache', 'openCache'],
  [ADAPTERS, 'adapters/unstorage', 'firkinDriver'],
] as const

/** The base classes of Level's, whose methods programs call without the underscore. */
const LEVEL_CLASSES = [
  ['db', FirkinLevel],
  ['batch', FirkinChainedBatch],
  ['iterator', EntryIterator],
  ['snapshot', LevelSnapshot],
] as const

const PACKAGES = ['@types', 'keyv', 'unstorage', 'undici', 'abstract-level']

const EXAMPLES = PAGES.flatMap((page) =>
  partsOf(page).flatMap(({ title, text }) =>
    codeIn(text, 'js').map((code) => ({ title: `${page}, ${title}`, code })),
  ),
).map((example, index) => ({ ...example, name: `example-${index}` }))

/** A member of a class as programs see it, such as `store.get(key: Key): V | undefined`. */
interface Member {
  readonly name: string
  readonly signature: string
}

/** Returns the built declarations of a file of src. */
function declarationsOf(file: string): string {
  return readFileSync(join(ROOT, 'dist/src', `${file}.d.ts`), 'utf8')
}

/** Returns the public members of a class, except its constructor. */
function membersOf(file: string, type: string, variable: string): Member[] {
  const body = declarationsOf(file).split(`class ${type}`)[1]?.split('\n}\n')[0] ?? ''
  const lines = body
    .replaceAll(/\/\*\*((?!\*\/).)*@internal((?!\*\/).)*\*\/\n[^\n]*/gs, '')
    .matchAll(/^ {4}(static )?(get |readonly )?(([\w[\].]+)[(<:?].*);$/gm)
  return [...lines]
    .map(([, isStatic, modifier, declared = '', name = '']) => {
      const owner = isStatic === undefined ? variable : type
      const rest = modifier === 'get ' ? declared.replace('()', '') : declared
      return { name, signature: `${owner}${name.startsWith('[') ? '' : '.'}${rest}` }
    })
    .filter(({ name }) => name !== 'constructor')
}

/** Returns text with its line breaks and the commas before brackets undone. */
function onOneLine(text: string): string {
  return text
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/([(<{]) /g, '$1')
    .replaceAll(/,? ([)>}])/g, '$1')
}

/** Whether a part of a page uses a member in an example. */
function isUsed({ text }: Part, { name, signature }: Member): boolean {
  const code = codeIn(text, 'js').join('\n')
  const at = signature.indexOf(name)
  const owner = signature.slice(0, at)
  if (name === '[Symbol.iterator]') return new RegExp(`(of |\\.\\.\\.)${owner}\\b`).test(code)
  const isMethod = /[(<]/.test(signature.charAt(at + name.length))
  return [`${owner}${name}`, `${owner}${name}?.`]
    .map((used) => (isMethod ? `${used}(` : used))
    .some((used) => code.includes(used))
}

/** Whether a part of a page has a sentence about a member: a point of a list that names it. */
function isExplained({ text }: Part, { name }: Member): boolean {
  const points = text.split(/^ *(?=- )/m).filter((point) => point.startsWith('- '))
  return points.some((point) => point.includes(`\`${name}\``) || point.includes(`.${name}\``))
}

/** Returns what a page lacks of a member: its signature, a sentence about it, or an example. */
function lacking(page: string, member: Member): string[] {
  const { signature } = member
  const parts = partsOf(page).filter(({ text }) =>
    codeIn(text, 'ts').some((code) => onOneLine(`\n${code}`).includes(` ${signature}`)),
  )
  if (parts.length === 0) return [`the signature ${signature}`]
  return [
    ...(parts.some((part) => isExplained(part, member)) ? [] : [`a sentence about ${signature}`]),
    ...(parts.some((part) => isUsed(part, member)) ? [] : [`an example of ${signature}`]),
  ]
}

/** Returns the lines that the comments of an example say it prints. */
function promisedLines(code: string): string[] {
  const lines = code.split('\n')
  return lines.flatMap((line, index) => {
    if (!line.includes('console.log(')) return []
    const beside = line.match(/ \/\/ (.*)$/)?.slice(1) ?? []
    const after = lines.slice(index + 1).map((each) => each.match(/^ *\/\/ (.*)$/)?.[1])
    const end = after.indexOf(undefined)
    return [...beside, ...after.slice(0, end < 0 ? after.length : end).map(String)]
  })
}

describe('the pages', () => {
  it.each(CLASSES)('document each member on %s: %s, %s', (page, file, type, variable) => {
    const members = membersOf(file, type, variable)

    expect(members.flatMap((member) => lacking(page, member))).toEqual([])
    expect(members.length).toBeGreaterThan(3)
  })

  it.each(FUNCTIONS)('document the function on %s: %s, %s', (page, file, name) => {
    const overloads = declarationsOf(file).match(
      new RegExp(`(?<=function )${name}[<(].*(?=;)`, 'g'),
    )
    const signature = onOneLine(overloads?.at(-1) ?? 'none')
    const part = partsOf(page).find(({ text }) =>
      codeIn(text, 'ts').some((code) => onOneLine(code).includes(signature)),
    )

    expect(part, signature).toBeDefined()
    expect(part?.text).toContain(`\`${name}\``)
    expect(codeIn(part?.text ?? '', 'js').join()).toContain(`${name}(`)
  })

  it.each(LEVEL_CLASSES)('document each method of abstract-level: %s', (variable, type) => {
    const names = Object.getOwnPropertyNames(type.prototype)
      .filter((name) => name.startsWith('_'))
      .map((name) => (name === '_chainedBatch' ? 'batch' : name.slice(1)))
    const members = names.map((name) => ({ name, signature: `${variable}.${name}(` }))

    expect(members.flatMap((member) => lacking(ADAPTERS, member))).toEqual([])
    expect(members.length).toBeGreaterThan(0)
  })

  it('document each method of a driver of unstorage', () => {
    const methods = Object.entries(firkinDriver({ base: 'data' })).flatMap(([name, value]) =>
      typeof value === 'function' ? [name] : [],
    )
    const members = methods.map((name) => ({
      name,
      signature: `${name === 'getInstance' ? 'driver' : 'storage'}.${name}(`,
    }))

    expect(members.flatMap((member) => lacking(ADAPTERS, member))).toEqual([])
    expect(members.length).toBeGreaterThan(10)
  })

  it('show everything that the package exports in an example', () => {
    const code = codeIn(readPage(STORE), 'js').join('\n')

    expect(Object.keys(firkin).filter((name) => !code.includes(` ${name}`))).toEqual([])
  })
})

describe('the examples of the pages', () => {
  let directory: string

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'firkin-pages-'))
    mkdirSync(join(directory, 'node_modules'))
    symlinkSync(ROOT, join(directory, 'node_modules/firkin'))
    for (const name of PACKAGES) {
      symlinkSync(join(ROOT, 'node_modules', name), join(directory, 'node_modules', name))
    }
    for (const { name, code } of EXAMPLES) {
      mkdirSync(join(directory, name))
      writeFileSync(join(directory, name, 'example.mjs'), code)
      writeFileSync(join(directory, name, 'example.mts'), code)
    }
  })

  afterAll(() => rm(directory, { recursive: true, force: true }))

  it.each(EXAMPLES)('run as they stand, and print what they say: $title', async (example) => {
    const cwd = join(directory, example.name)

    const { stdout, stderr } = await run(process.execPath, ['example.mjs'], { cwd })

    expect(stdout.split('\n').slice(0, -1)).toEqual(promisedLines(example.code))
    expect(stderr).toBe('')
  })

  it('are strict TypeScript', async () => {
    const types = ['--types', 'node', '--module', 'nodenext', '--target', 'es2022']
    const flags = ['--noEmit', '--strict', '--skipLibCheck', '--lib', 'esnext', ...types]
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    const files = EXAMPLES.map(({ name }) => join(name, 'example.mts'))

    const compiling = run(process.execPath, [tsc, ...flags, ...files], { cwd: directory })

    await expect(compiling.catch((error: unknown) => error)).resolves.toMatchObject({ stdout: '' })
    expect(files.length).toBeGreaterThan(20)
  })
})
