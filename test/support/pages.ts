/** The pages, which stand beside what they are about, and their examples. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export const PAGES = [
  'README.md',
  'src/README.md',
  'src/store/README.md',
  'src/store/ENVIRONMENTS.md',
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

/** The page of the store. */
export const STORE = 'src/store/README.md'
/** The page of the cache. */
export const CACHE = 'src/cache/README.md'
/** The page of the adapters. */
export const ADAPTERS = 'src/adapters/README.md'

/** A part of a page, from one heading to the next. */
export interface Part {
  readonly title: string
  readonly text: string
}

/** Returns the text of a page. */
export function readPage(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8')
}

/** Returns the parts of a page, whatever the level of their headings. */
export function partsOf(page: string): Part[] {
  return readPage(page)
    .split(/^#+ /m)
    .slice(1)
    .map((text) => ({ title: text.split('\n')[0] ?? '', text }))
}

/** Returns the blocks of code in a text that are in a language. */
export function codeIn(text: string, language: 'js' | 'ts'): string[] {
  const fences = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms')
  return [...text.matchAll(fences)].map(([, code = '']) => code)
}
