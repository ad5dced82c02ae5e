import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { PersistentCache } from '../src/cache/cache.ts'
import { resolveOptions, type StoreOptions } from '../src/options.ts'
import { systemClock } from '../src/scheduling/time.ts'
import { WriteBatch } from '../src/store/batch.ts'
import { Snapshot } from '../src/store/snapshot.ts'
import { Store } from '../src/store/store.ts'
import { withDirectory } from './support/directory.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
/** The pages, each beside what it is about. */
const PAGES = [
  'README.md',
  'src/README.md',
  'src/store/README.md',
  'src/cache/README.md',
  'src/adapters/README.md',
  'src/format/FORMAT.md',
  'tools/README.md',
  'bench/README.md',
  'test/README.md',
  '.github/CHANGES.md',
  '.github/CONTRIBUTING.md',
  '.github/SECURITY.md',
]
const STORE = 'src/store/README.md'
const CACHE = 'src/cache/README.md'

function read(page: string): string {
  return readFileSync(join(root, page), 'utf8')
}

/** The text of a section of a page, up to the next one. */
function section(page: string, title: string): string {
  const text = read(page).split(`\n## ${title}\n`)[1]?.split('\n## ')[0]
  if (text === undefined) throw new Error(`${page} has no section ${title}`)
  return text
}

/** The anchors that a page's headings have. */
function anchors(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title.toLowerCase().replaceAll(' ', '-'),
  )
}

/** The links of a page to files: the path from the root, and the anchor. */
function linksOf(page: string): { path: string; anchor: string | undefined }[] {
  return [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)].map(
    ([, path = '', anchor]) => ({
      path: path === '' ? page : relative(root, resolve(root, dirname(page), path)),
      anchor,
    }),
  )
}

/** Makes firkin and what the examples use importable from a directory. */
function linkPackages(directory: string): void {
  mkdirSync(join(directory, 'node_modules'))
  symlinkSync(root, join(directory, 'node_modules/firkin'))
  for (const name of ['@types', 'keyv', 'unstorage', 'undici', 'abstract-level']) {
    symlinkSync(join(root, 'node_modules', name), join(directory, 'node_modules', name))
  }
}

/** The names between backticks in the first column of the tables of a section of the store's page. */
function firstColumn(title: string): string[] {
  const cells = [...section(STORE, title).matchAll(/^\| *([^|]*?) *\|/gm)].map(
    ([, cell = '']) => cell,
  )
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name))
}

/** The names of an interface's optional members. */
function memberNames(file: string, name: string): string[] {
  const source = readFileSync(join(root, file), 'utf8')
  const body = source.split(`export interface ${name}`)[1]?.split('\n}\n')[0] ?? ''
  return [...body.matchAll(/^ {2}readonly (\w+)\?:/gm)].map(([, member = '']) => member)
}

describe('the pages', () => {
  it('give every option, and its default', () => {
    const rows = [...section(STORE, 'Options').matchAll(/^\| *`([\w.]+)` *\| *(`([^`]+)`)? *\|/gm)]
    const values = new Map(rows.map(([, name = '', , value]) => [name, value]))
    const parse = (text: string | undefined): unknown => {
      if (text === undefined || text === 'undefined') return undefined
      return text === 'Date.now' ? systemClock : JSON.parse(text.replaceAll("'", '"'))
    }
    const options: Record<string, unknown> = {}
    const merge: Record<string, unknown> = {}
    for (const [name, value] of values) {
      if (name.startsWith('merge.')) merge[name.slice('merge.'.length)] = parse(value)
      else if (name !== 'merge') options[name] = parse(value)
    }

    expect([...Object.keys(options), 'merge'].sort()).toEqual(
      memberNames('src/options.ts', 'StoreOptions').sort(),
    )
    expect(Object.keys(merge).sort()).toEqual(memberNames('src/options.ts', 'MergeOptions').sort())
    expect(resolveOptions({ ...options, merge } as StoreOptions)).toEqual(resolveOptions())
  })

  it('give every error code', () => {
    const source = readFileSync(join(root, 'src/errors.ts'), 'utf8')
    const codes = [...source.matchAll(/^ {2}\| '(FIRKIN_\w+)'/gm)].map(([, code]) => code)

    expect(firstColumn('Errors').sort()).toEqual(codes.sort())
  })

  it('give every method', () => {
    const documented = new Set(firstColumn('API').map((text) => text.split('(')[0]))
    const methods = [Store, WriteBatch, Snapshot].flatMap((type) =>
      Object.getOwnPropertyNames(type.prototype).filter((name) => name !== 'constructor'),
    )

    expect(methods.filter((name) => !documented.has(name))).toEqual([])
    expect(methods.length).toBeGreaterThan(30)
  })

  it('give every option of a cache, and its default', () => {
    const rows = [...section(CACHE, 'Options').matchAll(/^\| *`(\w+)` *\| *(?:`([^`]+)`)? *\|/gm)]
    const source = readFileSync(join(root, 'src/cache/options.ts'), 'utf8')
    const body = source.split('export interface CacheOptions')[1]?.split('\n}\n')[0] ?? ''
    const members = [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name]) => name)
    const defaults = [...body.matchAll(/@defaultValue (\S+)\n {3}\*\/\n {2}readonly (\w+)/g)]

    expect(rows.map(([, name]) => name).sort()).toEqual(members.sort())
    for (const [, value, name] of defaults) {
      expect(rows.find(([, each]) => each === name)?.[2], name).toBe(value)
    }
    expect(defaults.length).toBeGreaterThan(8)
  })

  it('give every method of a cache, and every figure', () => {
    const documented = read(CACHE)
    const methods = Object.getOwnPropertyNames(PersistentCache.prototype)
    const source = readFileSync(join(root, 'src/cache/stats.ts'), 'utf8').split(
      'What is counted',
    )[0]
    const figures = [...(source ?? '').matchAll(/^ +readonly (\w+):/gm)].map(([, name]) => name)

    expect(methods.filter((name) => !new RegExp(`\`${name}[\\(\`]`).test(documented))).toEqual([
      'constructor',
    ])
    expect(figures.filter((name) => !documented.includes(`\`${name}\``))).toEqual([])
    expect(figures.length).toBeGreaterThan(20)
  })

  it('give every event', () => {
    const source = read('src/store/events.ts')
    const body = source.split('export interface StoreEvents')[1]?.split('\n}\n')[0] ?? ''
    const events = [...body.matchAll(/^ {2}(\w+): \[/gm)].map(([, event]) => `'${event}'`)

    expect(firstColumn('Events')).toEqual(events)
  })

  it('have examples that run as they stand, and are strict TypeScript', async () => {
    const examples = PAGES.flatMap((page) =>
      [...read(page).matchAll(/^```js\n(.*?)^```/gms)].map(([, code = '']) => ({ page, code })),
    )
    expect(examples.length).toBeGreaterThan(5)
    await withDirectory(async (directory) => {
      linkPackages(directory)
      const sources = examples.map(({ code }, index) => {
        const name = join(directory, `example-${index}`)
        writeFileSync(`${name}.mjs`, code)
        writeFileSync(`${name}.mts`, code)
        return name
      })
      const printed = []
      for (const name of sources) {
        const run = promisify(execFile)(process.execPath, [`${name}.mjs`], { cwd: directory })
        printed.push((await run).stdout)
      }
      const types = [
        '--types',
        'node',
        '--module',
        'nodenext',
        '--target',
        'es2022',
        '--lib',
        'esnext',
      ]
      const flags = ['--noEmit', '--strict', '--skipLibCheck', ...types]
      const tsc = join(root, 'node_modules/typescript/bin/tsc')
      const files = sources.map((name) => `${name}.mts`)
      await promisify(execFile)(process.execPath, [tsc, ...flags, ...files], { cwd: directory })

      expect(printed.slice(0, 2)).toEqual([
        "{ name: 'Ada' }\nuser:7 { name: 'Ada' }\nuser:8 { name: 'Bob' }\n",
        "{ name: 'Ada' }\n{ name: 'Bob' }\n",
      ])
    })
  }, 60_000)

  it('link to files that are there, and to headings that they have', () => {
    const links = PAGES.flatMap((page) => linksOf(page).map((link) => ({ page, ...link })))
    const missing = links.filter(({ path, anchor }) => {
      if (!existsSync(join(root, path))) return true
      return anchor !== undefined && !anchors(path).includes(anchor)
    })

    expect(missing).toEqual([])
    expect(links.length).toBeGreaterThan(60)
  })

  it('can all be reached from the first, which is a front door', () => {
    const reached = new Set(['README.md'])
    for (const page of reached) {
      for (const { path } of linksOf(page)) if (path.endsWith('.md')) reached.add(path)
    }

    expect(PAGES.filter((page) => !reached.has(page))).toEqual([])
    expect(read('README.md').split('\n').length).toBeLessThanOrEqual(200)
    expect(read('README.md').split('```js\n')[0]?.split('\n').length).toBeLessThan(15)
  })

  it('name scripts that are there', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const named = PAGES.flatMap((page) =>
      [...read(page).matchAll(/npm run (\w+)/g)].map(([, name = '']) => name),
    )

    expect(named.filter((name) => !(name in scripts))).toEqual([])
    expect(named.length).toBeGreaterThan(5)
  })
})
