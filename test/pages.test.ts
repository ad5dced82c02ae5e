/**
 * Tests that the pages list every option, error code, figure and event, and that their links and
 * scripts exist.
 */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { resolveOptions, type StoreOptions } from '../src/options.ts'
import { systemClock } from '../src/scheduling/time.ts'
import { CACHE, PAGES, ROOT, readPage, STORE } from './support/pages.ts'

/** Returns the text of a section of a page, up to the next section. */
function section(page: string, title: string): string {
  const text = readPage(page).split(`\n## ${title}\n`)[1]?.split('\n## ')[0]
  if (text === undefined) throw new Error(`${page} has no section ${title}`)
  return text
}

/** Returns the anchors of a page's headings. */
function anchors(page: string): string[] {
  return [...readPage(page).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title.toLowerCase().replaceAll(' ', '-'),
  )
}

/** Returns the links of a page to files: the path from the root, and the anchor. */
function linksOf(page: string): { path: string; anchor: string | undefined }[] {
  return [...readPage(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)].map(
    ([, path = '', anchor]) => ({
      path: path === '' ? page : relative(ROOT, resolve(ROOT, dirname(page), path)),
      anchor,
    }),
  )
}

/** Returns the names between backticks in the first column of a section's tables. */
function firstColumn(title: string): string[] {
  const cells = [...section(STORE, title).matchAll(/^\| *([^|]*?) *\|/gm)].map(
    ([, cell = '']) => cell,
  )
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name))
}

/** Returns the names of an interface's optional members. */
function memberNames(file: string, name: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8')
  const body = source.split(`export interface ${name}`)[1]?.split('\n}\n')[0] ?? ''
  return [...body.matchAll(/^ {2}readonly (\w+)\?:/gm)].map(([, member = '']) => member)
}

describe('the pages', () => {
  it('list every option, and its default', () => {
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
      memberNames('src/options.ts', 'StoreSettings').sort(),
    )
    expect(Object.keys(merge).sort()).toEqual(memberNames('src/options.ts', 'MergeOptions').sort())
    expect(resolveOptions({ ...options, merge } as StoreOptions)).toEqual(resolveOptions())
  })

  it('list every error code', () => {
    const source = readFileSync(join(ROOT, 'src/errors.ts'), 'utf8')
    const codes = [...source.matchAll(/^ {2}\| '(FIRKIN_\w+)'/gm)].map(([, code]) => code)

    expect(firstColumn('Errors').sort()).toEqual(codes.sort())
  })

  it('list every option of a cache, and its default', () => {
    const rows = [...section(CACHE, 'Options').matchAll(/^\| *`(\w+)` *\| *(?:`([^`]+)`)? *\|/gm)]
    const source = readFileSync(join(ROOT, 'src/cache/options.ts'), 'utf8')
    const body = source.split('export interface CacheSettings')[1]?.split('\n}\n')[0] ?? ''
    const members = [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name]) => name)
    const defaults = [...body.matchAll(/@defaultValue (\S+)\n {3}\*\/\n {2}readonly (\w+)/g)]

    expect(rows.map(([, name]) => name).sort()).toEqual(members.sort())
    for (const [, value, name] of defaults) {
      expect(rows.find(([, each]) => each === name)?.[2], name).toBe(value)
    }
    expect(defaults.length).toBeGreaterThan(8)
  })

  it('list every figure of a cache', () => {
    const documented = readPage(CACHE)
    const source = readFileSync(join(ROOT, 'src/cache/stats.ts'), 'utf8')
    const body = source.split('export interface CacheStats')[1]?.split('\n}\n')[0] ?? ''
    const figures = [...body.matchAll(/^ +readonly (\w+):/gm)].map(([, name]) => name)

    expect(figures.filter((name) => !documented.includes(`\`${name}\``))).toEqual([])
    expect(figures.length).toBeGreaterThan(20)
  })

  it('list every event', () => {
    const source = readPage('src/store/events.ts')
    const body = source.split('export interface StoreEvents')[1]?.split('\n}\n')[0] ?? ''
    const events = [...body.matchAll(/^ {2}(\w+): \[/gm)].map(([, event]) => `'${event}'`)

    expect(firstColumn('Events')).toEqual(events)
  })

  it('link to files that exist, and to headings in them', () => {
    const links = PAGES.flatMap((page) => linksOf(page).map((link) => ({ page, ...link })))
    const missing = links.filter(({ path, anchor }) => {
      if (!existsSync(join(ROOT, path))) return true
      return anchor !== undefined && !anchors(path).includes(anchor)
    })

    expect(missing).toEqual([])
    expect(links.length).toBeGreaterThan(60)
  })

  it('can all be reached from the first, which is short', () => {
    const reached = new Set(['README.md'])
    for (const page of reached) {
      for (const { path } of linksOf(page)) if (path.endsWith('.md')) reached.add(path)
    }

    expect(PAGES.filter((page) => !reached.has(page))).toEqual([])
    expect(readPage('README.md').split('\n').length).toBeLessThanOrEqual(200)
    expect(readPage('README.md').split('```js\n')[0]?.split('\n').length).toBeLessThan(15)
  })

  it('name scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    const named = PAGES.flatMap((page) =>
      [...readPage(page).matchAll(/npm run (\w+)/g)].map(([, name = '']) => name),
    )

    expect(named.filter((name) => !(name in scripts))).toEqual([])
    expect(named.length).toBeGreaterThan(5)
  })
})
