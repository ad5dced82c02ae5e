/** What is kept true of the sources by reading them. */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'

const SOURCE = join(import.meta.dirname, '../src')

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

/** Imports that go up, and why. */
const UPWARDS: ReadonlySet<string> = new Set([
  // Where the manifest is lost, opening says what salvaging would find.
  'recovery -> salvage',
])

const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((path) =>
  path.endsWith('.ts'),
)

function folderOf(path: string): string {
  return relative(SOURCE, path).split('/')[0] ?? ''
}

/** The files that one imports, types included. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(SOURCE, file), 'utf8')
  return [...text.matchAll(/from '(\.[^']+)'/g)].map(([, path = '']) =>
    join(SOURCE, dirname(file), path),
  )
}

describe('the sources', () => {
  it('lie in folders that stand one upon the other', () => {
    const upwards = files.flatMap((file) => {
      const from = file.split('/')[0] ?? ''
      return importsOf(file).flatMap((path) => {
        const to = folderOf(path)
        const isUp = FOLDERS.includes(from) && FOLDERS.indexOf(to) > FOLDERS.indexOf(from)
        const direction = `${from} -> ${to}`
        return isUp && !UPWARDS.has(direction) ? [`${direction}: ${file}`] : []
      })
    })

    expect(upwards).toEqual([])
  })

  it('are all in a folder that is listed, but for what every folder needs', () => {
    const loose = files.filter((file) => !FOLDERS.includes(file.split('/')[0] ?? ''))

    expect(loose.sort()).toEqual(['errors.ts', 'index.ts', 'options.ts'])
  })

  it('are where src/README.md says', () => {
    const page = readFileSync(join(SOURCE, 'README.md'), 'utf8')
    const named = [...page.matchAll(/`([a-z-]+\/[a-z-]+\.ts)`/g)].map(([, path]) => path ?? '')

    expect(named.length).toBeGreaterThan(20)
    expect(named.filter((path) => !files.includes(path))).toEqual([])
    const listed = [...page.matchAll(/^\| `([a-z]+)\/` \|/gm)].map(([, folder]) => folder)
    expect(listed).toEqual(FOLDERS)
  })
})
