/** Which files a store touches, and how. */

import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseName } from '../../src/format/names.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, idle, KIB, keysUpTo, openOn } from '../support/store.ts'

/** Returns the file calls of a store that does everything twice. */
async function callsOfAll(): Promise<FaultyFiles['calls']> {
  const files = new FaultyFiles(1)
  for (let round = 0; round < 2; round++) {
    const store = await openOn(files, { sync: 'always' })
    for (const key of keysUpTo(30)) await store.put(key, `${round}`.repeat(6 * KIB))
    await store.put('large', 'x'.repeat(300 * KIB))
    await store.merge()
    await store.clear({ lt: 'key 010' })
    await store.merge()
    await idle(store)
    await store.verify()
    await store.close()
  }
  return files.calls
}

describe('the files of a store', () => {
  it('lie in its directory, and the store touches nothing outside it', async () => {
    const calls = await callsOfAll()

    const above = calls.filter(({ path }) => path !== DISK && !path.startsWith(`${DISK}/`))
    const changing = above.filter(
      ({ kind }) => kind !== 'syncDirectory' && kind !== 'fileSystemType',
    )
    expect(changing).toEqual([])
    expect(calls.filter(({ kind }) => kind === 'rename').length).toBeGreaterThan(5)
  })

  it('are replaced as a whole, except segments, which are written and cut in place', async () => {
    const calls = await callsOfAll()

    const written = new Set(
      calls
        .filter(({ kind }) => kind === 'write' || kind === 'truncate')
        .map(({ path }) => parseName(basename(path)).type),
    )
    expect([...written].sort()).toEqual(['segment', 'temporary'])
    expect(calls.some(({ kind, path }) => kind === 'rename' && path === `${DISK}/MANIFEST`)).toBe(
      true,
    )
  })

  it('are reached only through src/io, and packages only through src/packages.ts', () => {
    const source = join(import.meta.dirname, '../../src')
    const paths = readdirSync(source, { recursive: true, encoding: 'utf8' })

    const importing = paths.filter(
      (path) =>
        path.endsWith('.ts') &&
        /'(node:fs(\/promises)?|fs-native-extensions|@koromix[^']*)'|createRequire/.test(
          readFileSync(join(source, path), 'utf8'),
        ),
    )

    expect(importing.sort()).toEqual([
      // It builds the package, and is not shipped.
      'bundle.ts',
      'io/copy.ts',
      'io/files.ts',
      'io/kernel-lock.ts',
      'io/lock.ts',
      'io/pages.ts',
      'io/permission.ts',
      'packages.ts',
    ])
  })
})
