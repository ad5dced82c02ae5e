/**
 * The declarations of the package, beside the compilers and the libraries that programs have: each
 * TypeScript, each @types/node, and each release of the libraries with an adapter.
 *
 * All of them are installed once, under other names. A combination is a project whose node_modules
 * links to one of each, and holds the packed package.
 */

import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packInto } from './pack.ts'

const run = promisify(execFile)

const TYPESCRIPTS = ['5.4', '5.9', '6', '7']
const NODES = ['20', '22', '24', '26']

const LIBRARIES = {
  ...Object.fromEntries(
    TYPESCRIPTS.map((each) => [`typescript-${each}`, `npm:typescript@${each}`]),
  ),
  ...Object.fromEntries(NODES.map((each) => [`node-${each}`, `npm:@types/node@${each}`])),
  'keyv-5': 'npm:keyv@5',
  'keyv-6': 'npm:keyv@6',
  'undici-7': 'npm:undici@7',
  'undici-8': 'npm:undici@8',
  'abstract-level': '3',
  unstorage: '1',
}

/** The libraries of a project, by their major releases, or minor ones of TypeScript 5. */
interface Combination {
  readonly typescript: string
  readonly node: string
  readonly keyv: string
  readonly undici: string
  readonly module: 'nodenext' | 'esnext'
  readonly exact: boolean
}

/** Each compiler, each @types/node and each release of a library, and the two ends crosswise. */
const SOME: readonly Combination[] = [
  { typescript: '5.4', node: '20', keyv: '5', undici: '7', module: 'nodenext', exact: true },
  { typescript: '5.4', node: '26', keyv: '6', undici: '8', module: 'esnext', exact: false },
  { typescript: '5.9', node: '22', keyv: '6', undici: '7', module: 'esnext', exact: true },
  { typescript: '6', node: '24', keyv: '5', undici: '8', module: 'nodenext', exact: false },
  { typescript: '7', node: '20', keyv: '5', undici: '8', module: 'esnext', exact: false },
  { typescript: '7', node: '26', keyv: '6', undici: '7', module: 'nodenext', exact: true },
]

/** Each compiler with each @types/node, in each way; the libraries alternate. */
const ALL: readonly Combination[] = TYPESCRIPTS.flatMap((typescript) =>
  NODES.flatMap((node, index) =>
    (['nodenext', 'esnext'] as const).flatMap((module) =>
      [true, false].map((exact) => ({
        typescript,
        node,
        keyv: exact ? '5' : '6',
        undici: exact === (index % 2 === 0) ? '7' : '8',
        module,
        exact,
      })),
    ),
  ),
)

const COMBINATIONS = process.env.FIRKIN_SWEEPS === 'all' ? ALL : SOME

/** Uses every entry point. If types were lost, they would be `any`, and no line an error. */
const PROGRAM = `
import { CorruptionError, open, type PutOptions, type Store, type StoreOptions, type ValueCodec } from 'firkin'
import { FirkinLevel } from 'firkin/abstract-level'
import { type CacheOptions, openCache } from 'firkin/cache'
import { KeyvFirkin } from 'firkin/keyv'
import { FirkinCacheStore } from 'firkin/undici'
import firkinDriver from 'firkin/unstorage'
import type { AbstractLevel } from 'abstract-level'
import Keyv from 'keyv'
import { Agent, interceptors } from 'undici'
import { createStorage } from 'unstorage'

interface User { name: string }
const brief: PutOptions = { ttlMs: 1000 }

const options: StoreOptions<User> = { valueEncoding: 'json', sync: { everyMs: 50 } }
const store: Store<User> = await open<User>('users', options)
await store.put('user:7', { name: 'Ada' }, brief)
await store.batch([{ type: 'put', key: 'user:8', value: { name: 'Bo' } }]).delete('x').commit()
export const name: string | undefined = store.get('user:7')?.name
for (const [key, user] of store.entries({ prefix: 'user:' })) console.log(key.length, user.name)
const snapshot = store.snapshot()
export const all: User[] = [...snapshot.values()]
snapshot.close()
store.on('merge', (event) => console.log(event.phase))
export const segments: number = store.stats().segments.length
// @ts-expect-error A number is not a user.
await store.put('user:9', 8)
// @ts-expect-error Without an encoding values are bytes.
await open<User>('users')
try { store.get('x') } catch (error) { if (error instanceof CorruptionError) console.log(error.offset) }
await store.close()

const bytes = await open('bytes', { keyEncoding: 'buffer' })
await bytes.put(new Uint8Array([1]), Buffer.from('value'))
export const buffer: Buffer | undefined = bytes.get('key')
export const keys: Buffer[] = [...bytes.keys()]
// @ts-expect-error Values are bytes.
export const text: string | undefined = bytes.get('key')

export async function openWith<V>(codec: ValueCodec<V>): Promise<Store<V, 'buffer'>> {
  return await open(codec.name ?? 'values', { keyEncoding: 'buffer', valueEncoding: codec })
}
export const openAs = async <V>(its: StoreOptions<V>): Promise<Store<V>> => await open('as', its)

const cacheOptions: CacheOptions<User> = { maxBytes: 2 ** 20, valueEncoding: 'json' }
const cache = await openCache<User>('cache', cacheOptions)
export const loaded: User = await cache.getOrSet('7', async (signal) => ({ name: String(signal) }))
cache.on('error', (error) => console.log(error.message))
// @ts-expect-error A number is not a user.
cache.set('8', 8)

const level = new FirkinLevel<string, User>('level', { valueEncoding: 'json' })
await level.put('7', { name: 'Ada' }, { ttlMs: 1000, sync: true })
await level.batch([{ type: 'put', key: '8', value: { name: 'Bo' }, ttlMs: 1000 }], { sync: true })
await level.batch().put('9', { name: 'Cy' }, { ttlMs: 1000 }).del('8').write({ sync: true })
await level.del('9', { sync: true })
for await (const [key, user] of level.iterator({ gte: '7' })) console.log(key.length, user.name)
export const plain: AbstractLevel<string | Buffer | Uint8Array, string, User> = level
export const count: number = level.store.count()
// @ts-expect-error A number is not a user.
await level.put('8', 8)

const keyv = new Keyv<User>({ store: new KeyvFirkin('keyv'), namespace: 'users' })
await keyv.set('7', { name: 'Ada' }, 60_000)
// @ts-expect-error A path is no number.
new KeyvFirkin(7)

const storage = createStorage<string>({ driver: firkinDriver({ base: 'storage' }) })
await storage.setItem('users:7', 'Ada', { ttl: 60 })
// @ts-expect-error A path is no number.
firkinDriver({ base: 7 })

const responses = await FirkinCacheStore.open('http', { maxSize: 2 ** 24 })
export const agent = new Agent().compose(interceptors.cache({ store: responses }))
// @ts-expect-error A size is a number.
await FirkinCacheStore.open('http', { maxSize: '1' })
`

let directory: string
let modules: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'firkin-types-'))
  modules = join(directory, 'node_modules')
  const { filename } = await packInto(directory)
  const dependencies = { ...LIBRARIES, firkin: `file:${filename}` }
  await writeFile(join(directory, 'package.json'), JSON.stringify({ private: true, dependencies }))
  await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: directory })
}, 180_000)

afterAll(() => rm(directory, { recursive: true, force: true }))

/** Makes a project of a program. */
async function makeProject(its: Combination, program: string): Promise<string> {
  const project = await mkdtemp(join(directory, 'project-'))
  const links = {
    '@types/node': `node-${its.node}`,
    keyv: `keyv-${its.keyv}`,
    undici: `undici-${its.undici}`,
    'abstract-level': 'abstract-level',
    unstorage: 'unstorage',
  }
  for (const [name, target] of Object.entries(links)) {
    const link = join(project, 'node_modules', name)
    await mkdir(dirname(link), { recursive: true })
    await symlink(join(modules, target), link)
  }
  // A copy, which finds the libraries of the project.
  const filter = (path: string): boolean => !/\.(js|md)$/.test(path)
  const copy = join(project, 'node_modules/firkin')
  await cp(join(modules, 'firkin'), copy, { recursive: true, filter })
  const compilerOptions = {
    module: its.module,
    moduleResolution: its.module === 'esnext' ? 'bundler' : its.module,
    target: 'es2022',
    lib: ['es2022'],
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: its.exact,
    noEmit: true,
  }
  await writeFile(join(project, 'package.json'), JSON.stringify({ type: 'module' }))
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
  await writeFile(join(project, 'main.ts'), program)
  return project
}

/**
 * Compiles a program. Returns the errors in it and in the declarations of the package: some
 * libraries have errors of their own, such as unstorage, or @types/node 26 with TypeScript 5.4.
 */
async function errorsOf(its: Combination, program: string): Promise<string[]> {
  const project = await makeProject(its, program)
  const compiler = join(modules, `typescript-${its.typescript}`, 'bin/tsc')
  const compiling = run(process.execPath, [compiler, '-p', project, '--pretty', 'false'], {
    cwd: project,
  })
  const { stdout } = await compiling.catch((error) => {
    if (!error.stdout) throw error
    return error as { stdout: string }
  })
  return stdout.split('\n').filter((line) => /^(?!\.\.\/)\S/.test(line))
}

describe('the declarations of the package', () => {
  it.each(COMBINATIONS)(
    'compile with TypeScript $typescript and @types/node $node, module $module, exact $exact',
    { timeout: 120_000 },
    async (combination) => {
      expect(await errorsOf(combination, PROGRAM)).toEqual([])
    },
  )
})
