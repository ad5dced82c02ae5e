/** Compares the public declarations of the build with the golden files; test/README.md has more. */

import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { PublicDeclarations } from './public-declarations.ts'

const ROOT = join(import.meta.dirname, '../..')

/** The entry points of the package, and the file of each in the build. */
const entryPoints = Object.entries<{ types?: string }>(
  JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).exports,
).flatMap(([name, { types: path }]) =>
  path === undefined
    ? []
    : [{ name: name.replace('.', 'firkin'), path: join(path).replace('.d.ts', '') }],
)

const declarations = new PublicDeclarations(ROOT)

describe('the public declarations', () => {
  it.each(entryPoints)('of $name are those of the golden file', async ({ name, path }) => {
    const others = entryPoints.filter((other) => other.name !== name)

    const text = declarations.textOf(path, new Map(others.map((other) => [other.name, other.path])))

    await expect(text).toMatchFileSnapshot(`golden/${basename(name)}.txt`)
  })

  it.each(entryPoints)('of $name say what each function and each member does', ({ path }) => {
    expect(declarations.undocumentedOf(path)).toEqual([])
  })

  it.each(entryPoints)('of $name need none of the engine, nor what is internal', ({ path }) => {
    const files = declarations.filesOf(path)

    expect(files.filter((file) => /src\/(io|keydir|scheduling)\/|\/engine$/.test(file))).toEqual([])
    for (const file of files) {
      expect(readFileSync(join(ROOT, `${file}.d.ts`), 'utf8')).not.toContain('@internal')
    }
  })

  it('are of all entry points', () => {
    expect(entryPoints.length).toBeGreaterThan(4)
  })
})
