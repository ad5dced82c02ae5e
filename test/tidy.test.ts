/** Keeps rules of the sources that can be read from their text. The checks are in `tidy/`. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  bannedWords,
  deadExports,
  importCycles,
  longBlocks,
  longLines,
  missingHeaders,
  realmTests,
  resolveImport,
  undocumentedExports,
} from './tidy/checks.ts'
import { importsOf } from './tidy/declarations.ts'
import { readSourceText, type SourceText } from './tidy/source-text.ts'

const ROOT = join(import.meta.dirname, '..')

/** The folders of src, from the bottom up, as src/README.md lists them. */
const FOLDERS = [
  'scheduling',
  'format',
  'io',
  'keydir',
  'segment',
  'merge',
  'recovery',
  'salvage',
  'inspection',
  'engine',
  'store',
  'cache',
  'adapters',
]

/** Functions and classes that may be longer than the others, and why. */
const LONG: ReadonlySet<string> = new Set([])

const files = ['src', 'tools', 'test', 'bench', 'examples'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(?:ts|js|mjs)$/.test(path) && !path.includes('node_modules'))
    .map((path) => `${folder}/${path}`)
    .map((path) => readSourceText(path, readFileSync(join(ROOT, path), 'utf8'))),
)
const sources = filesOf('src')

function filesOf(...folders: readonly string[]): SourceText[] {
  return files.filter(({ path }) => folders.some((folder) => path.startsWith(`${folder}/`)))
}

/** Returns the folder of a file of src, and the file's name if it is in none. */
function folderOf(path: string): string {
  return path.split('/')[1] ?? ''
}

describe('the sources', () => {
  it('lie in folders that only import from those below', () => {
    const upwards = sources.flatMap((source) => {
      const from = folderOf(source.path)
      return importsOf(source).flatMap(({ path }) => {
        const to = folderOf(resolveImport(source.path, path))
        const isUp = FOLDERS.includes(from) && FOLDERS.indexOf(to) > FOLDERS.indexOf(from)
        return isUp ? [`${from} -> ${to}: ${source.path}`] : []
      })
    })

    expect(upwards).toEqual([])
  })

  it('are all in a listed folder, except for those that every folder needs', () => {
    const loose = sources.map(({ path }) => folderOf(path)).filter((name) => name.endsWith('.ts'))
    const folders = sources
      .map(({ path }) => folderOf(path))
      .filter((name) => !loose.includes(name))

    expect(loose.sort()).toEqual([
      'bundle.ts',
      'errors.ts',
      'index.ts',
      'options.ts',
      'packages.ts',
    ])
    expect([...new Set(folders)].sort()).toEqual([...FOLDERS].sort())
  })

  it('are at the paths that src/README.md names', () => {
    const page = readFileSync(join(ROOT, 'src/README.md'), 'utf8')
    const named = [...page.matchAll(/`([a-z-]+\/[a-z-]+\.ts)`/g)].map(([, path]) => `src/${path}`)

    expect(named.length).toBeGreaterThan(20)
    expect(named.filter((path) => !sources.some((source) => source.path === path))).toEqual([])
    const listed = [...page.matchAll(/^\| `([a-z]+)\/` \|/gm)].map(([, folder]) => folder)
    expect(listed).toEqual(FOLDERS)
  })

  it('import each other without cycles', () => {
    expect(importCycles(sources)).toEqual([])
  })

  it('have lines of up to 100 columns', () => {
    expect(files.flatMap(longLines)).toEqual([])
  })

  it('have functions of up to 70 lines and classes of up to 450, or a reason', () => {
    const long = filesOf('src', 'tools')
      .flatMap(longBlocks)
      .filter((finding) => !LONG.has(finding.replace(/: \d+ lines$/, '')))

    expect(long).toEqual([])
  })

  it('begin with a comment that says what the file is for', () => {
    const headed = filesOf('src', 'tools', 'bench', 'examples')

    expect(headed.flatMap(missingHeaders)).toEqual([])
  })

  it('document every export', () => {
    expect(sources.flatMap(undocumentedExports)).toEqual([])
  })

  it('ask for no instance of a built-in class, which another realm has its own of', () => {
    const asking = filesOf('src', 'tools').filter(
      ({ path }) => !['src/errors.ts', 'src/format/bytes.ts'].includes(path),
    )

    expect(asking.flatMap(realmTests)).toEqual([])
  })

  it('export only names that are public or imported somewhere', () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    const entryPoints = Object.values<{ types?: string }>(exports).flatMap(({ types: path }) =>
      path === undefined ? [] : [path.replace('./dist/', '').replace(/\.d\.ts$/, '.ts')],
    )

    expect(entryPoints).toContain('src/index.ts')
    expect(deadExports(sources, files, entryPoints)).toEqual([])
  })

  it('use plain words in comments and test titles', () => {
    expect(files.flatMap(bannedWords)).toEqual([])
  })
})
