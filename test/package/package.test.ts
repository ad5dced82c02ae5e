/** The package as a stranger gets it: packed, installed into an empty project, imported, type-checked and killed. */

import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const KEY_COUNT = 1_000_000

/** Puts keys for ever, and says after each thousand that they are settled. */
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
// @ts-expect-error: a number is no user.
await store.put('user:8', 8)
try { store.get('x') } catch (error) { if (error instanceof CorruptionError) console.log(error.offset) }
await store.close()
export { name }
`

let project: string

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'firkin-package-'))
  const { stdout } = await run(
    'npm',
    ['pack', '--json', '--ignore-scripts', '--pack-destination', project],
    { cwd: ROOT },
  )
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
  await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }')
  await run('npm', ['install', '--no-audit', '--no-fund', `./${filename}`], { cwd: project })
}, 180_000)

afterAll(() => rm(project, { recursive: true, force: true }))

describe('the packed package', () => {
  it('keeps all that was settled when its process is killed', { timeout: 300_000 }, async () => {
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

  it('has a command', { timeout: 60_000 }, async () => {
    const { stdout } = await run(join(project, 'node_modules/.bin/firkin'), ['--version'])

    expect(stdout).toMatch(/^\d+\.\d+\.\d+/)
  })
})

/** Runs the writer until it has told that `count` keys are settled, kills it, and answers how many there were. */
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
