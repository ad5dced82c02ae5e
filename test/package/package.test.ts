/**
 * The package as users get it: packed, installed into an empty project, imported and type-checked.
 */

import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packInto, ROOT } from './pack.ts'

const run = promisify(execFile)
const KEY_COUNT = 1_000_000

/** Puts keys without end, and reports each thousand that has settled. */
const WRITER = `
import { open } from 'firkin'
const store = await open('data')
const value = Buffer.alloc(100, 7)
for (let index = 0; ; index += 1000) {
  const puts = []
  for (let key = index; key < index + 1000; key++) puts.push(store.put('key ' + key, value))
  await Promise.all(puts)
  process.stdout.write(index + 1000 + '\\n')
}
`

const READER = `
import { open } from 'firkin'
const store = await open('data', { createIfMissing: false })
const settled = Number(process.argv[2])
let missing = 0
for (let key = 0; key < settled; key++) {
  const value = store.get('key ' + key)
  if (value === undefined || value.length !== 100 || value[99] !== 7) missing++
}
const { ok } = await store.verify()
console.log(JSON.stringify({ missing, ok, keys: store.count() }))
await store.close()
`

const CONSUMER = `
import { CorruptionError, open, type Store, type StoreOptions } from 'firkin'

interface User { name: string }
const options: StoreOptions<User> = { valueEncoding: 'json', sync: { everyMs: 50 } }
const store: Store<User> = await open<User>('users', options)
await store.put('user:7', { name: 'Ada' }, { ttlMs: 1000 })
const name: string | undefined = store.get('user:7')?.name
for (const [key, user] of store.entries({ prefix: 'user:' })) console.log(key.length, user.name)
// @ts-expect-error: a number is not a user.
await store.put('user:8', 8)
try { store.get('x') } catch (error) { if (error instanceof CorruptionError) console.log(error.offset) }
await store.close()
export { name }
`

/** Uses a store while the optional parts of the package are missing. */
const WITHOUT_NATIVE_PARTS = `
import { open } from 'firkin'
const refused = await open('plain').then(() => 'opened', ({ code, message }) => code + ': ' + message)
const store = await open('plain', { lock: false, maxSegmentBytes: 65536, merge: { automatic: false } })
for (const text of ['old', 'new']) {
  for (let key = 0; key < 100; key++) await store.put('key ' + key, text.repeat(500))
}
const { bytesGained } = await store.merge()
const { mapping } = store.stats()
await store.close()
const reopened = await open('plain', { lock: false, readOnly: true })
console.log(JSON.stringify({
  refused, mapping, gained: bytesGained > 150_000, keys: reopened.count(), value: String(reopened.get('key 7')).slice(0, 3),
}))
`

let project: string
let tarball: { readonly size: number; readonly paths: readonly string[] }

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'firkin-package-'))
  const { filename, size, files } = await packInto(project)
  tarball = { size, paths: files.map(({ path }) => path) }
  await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }')
  await run('npm', ['install', '--no-audit', '--no-fund', `./${filename}`], { cwd: project })
}, 180_000)

afterAll(() => rm(project, { recursive: true, force: true }))

describe('the packed package', () => {
  it('keeps all settled writes when its process is killed', { timeout: 300_000 }, async () => {
    await writeFile(join(project, 'writer.js'), WRITER)
    await writeFile(join(project, 'reader.js'), READER)

    const settled = await killAfter(KEY_COUNT)
    const { stdout } = await run(process.execPath, ['reader.js', String(settled)], { cwd: project })

    const { missing, ok, keys } = JSON.parse(stdout)
    expect({ missing, ok }).toEqual({ missing: 0, ok: true })
    expect(keys).toBeGreaterThanOrEqual(settled)
  })

  it.each([
    ['nodenext', 'nodenext'],
    ['preserve', 'bundler'],
  ])(
    'type-checks in a consumer with module %s and resolution %s',
    { timeout: 120_000 },
    async (module, moduleResolution) => {
      const consumer = join(project, moduleResolution)
      await mkdir(consumer)
      await writeFile(join(consumer, 'main.ts'), CONSUMER)
      const compilerOptions = {
        module,
        moduleResolution,
        target: 'es2023',
        lib: ['es2023', 'esnext.disposable', 'dom'],
        strict: true,
        noEmit: true,
        typeRoots: [join(ROOT, 'node_modules/@types')],
        types: ['node'],
      }
      await writeFile(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions }))

      const tsc = run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', consumer])

      await expect(tsc.catch((error) => error.stdout)).resolves.toMatchObject({ stdout: '' })
    },
  )

  it('holds the files that it needs, and no others', () => {
    const needed =
      /^(LICENSE|README\.md|package\.json|src\/([a-z]+\/)?[A-Z]+\.md|tools\/README\.md|dist\/src\/.*\.d\.ts|dist\/package\/(LICENSES\.txt|.*\.js(\.map)?))$/

    expect(tarball.paths.filter((path) => !needed.test(path))).toEqual([])
    expect(tarball.paths).toContain('dist/package/LICENSES.txt')
    expect(tarball.paths).toContain('src/format/FORMAT.md')
    expect(tarball.paths).toContain('src/store/README.md')
    // A guard against files that are packed by mistake.
    expect(tarball.size).toBeLessThan(1_100_000)
  })

  it('resolves each path that it exports, and has types for it', async () => {
    const root = join(project, 'node_modules/firkin')
    const { exports } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
    const paths = Object.keys(exports)
    const code = `console.log(JSON.stringify(${JSON.stringify(paths)}.map((path) =>
      import.meta.resolve(path.replace('.', 'firkin')))))`

    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], {
      cwd: project,
    })

    for (const [index, url] of (JSON.parse(stdout) as string[]).entries()) {
      expect((await stat(new URL(url))).isFile()).toBe(true)
      const { types = './package.json' } = exports[paths[index] ?? '']
      expect((await stat(join(root, types))).isFile()).toBe(true)
    }
    expect(paths).toContain('./cache')
  })

  it('has a command', { timeout: 60_000 }, async () => {
    const { stdout } = await run(join(project, 'node_modules/.bin/firkin'), ['--version'])

    expect(stdout).toMatch(/^\d+\.\d+\.\d+/)
  })

  // The last test, because it removes parts of the package.
  it('works without mapping and, if an option says so, without a lock', {
    timeout: 60_000,
  }, async () => {
    await writeFile(join(project, 'plain.js'), WITHOUT_NATIVE_PARTS)
    const parts = ['@koromix', 'mmap-io', 'fs-native-extensions'].map((name) =>
      join(project, 'node_modules', name),
    )
    for (const part of parts) await rm(part, { recursive: true, force: true })

    const { stdout } = await run(process.execPath, ['plain.js'], { cwd: project })

    expect(JSON.parse(stdout)).toEqual({
      refused: expect.stringMatching(
        /^FIRKIN_LOCK_UNAVAILABLE: Kernel file locks are not available here.*open it with `lock: false`/,
      ),
      mapping: false,
      gained: true,
      keys: 100,
      value: 'new',
    })
  })
})

/** Kills the writer after it has reported `count` settled keys, and returns the last report. */
async function killAfter(count: number): Promise<number> {
  const writer = spawn(process.execPath, ['writer.js'], {
    cwd: project,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise((resolve) => writer.on('exit', resolve))
  let settled = 0
  for await (const line of createInterface({ input: writer.stdout })) {
    settled = Number(line)
    if (settled >= count) writer.kill('SIGKILL')
  }
  await exited
  return settled
}
