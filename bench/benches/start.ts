/** Measures a process that reads one key: from the start of Node to its end. */

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Bench, Settings } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { peerFile } from '../peers.ts'
import {
  bound,
  find,
  type Measure,
  measure,
  median,
  type Report,
  type Target,
  target,
} from '../report.ts'
import { CLASSIC_LEVEL, FIRKIN, LARGE_WINDOW, LMDB, load, withDirectory } from '../stores.ts'
import { keyAt, Values } from '../workload.ts'

const FEW_KEYS = 1000
/** The memory that a process may take above that of Node alone, in megabytes. */
const MOST_MEGABYTES = 8
/** Processes are short, and their times vary: each round starts this many of each. */
const STARTS_PER_ROUND = 5

/** A contender in a process of its own. */
interface Lane {
  readonly contender: Contender
  /** The module that the process imports. */
  readonly module: string
  /** Statements that open the store in `path`, read `key` into `value`, and close it. */
  readonly statements: string
}

const LANES: readonly Lane[] = [
  {
    contender: FIRKIN,
    // The package, as users import it.
    module: fileURLToPath(new URL('../../package/index.js', import.meta.url)),
    statements: `
      const store = await module.open(path)
      const value = store.get(key)
      await store.close()`,
  },
  {
    contender: CLASSIC_LEVEL,
    module: 'classic-level',
    statements: `
      const store = new module.ClassicLevel(path, { valueEncoding: 'buffer' })
      await store.open()
      const value = store.getSync(key)
      await store.close()`,
  },
  {
    contender: LMDB,
    module: 'lmdb',
    statements: `
      const store = module.open({ path, encoding: 'binary' })
      const value = store.getBinary(key)
      await store.close()`,
  },
]
const NODE = 'node alone'

/** The life of a process that reads one key. */
export const start: Bench = {
  name: 'start',
  about: `start Node, import, open a store of ${FEW_KEYS} keys and one of --keys, get, close, exit`,
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    const targets: Target[] = []
    for (const keys of [FEW_KEYS, settings.keys]) {
      const what = `start, ${keys.toLocaleString('en-GB')} keys`
      const { times, megabytes } = await measureStarts(keys, settings)
      for (const [name, rounds] of times) measures.push(measure(what, name, 'ms', rounds))
      const own = find(measures, what, FIRKIN.name)
      targets.push(target(what, 1, own, find(measures, what, CLASSIC_LEVEL.name)))
      const above = (megabytes.get(FIRKIN.name) ?? 0) - (megabytes.get(NODE) ?? 0)
      const told = [...megabytes].map(([name, used]) => `${name} ${used.toFixed(1)} MB`).join(', ')
      targets.push(
        bound(
          `${what}: memory above ${NODE}`,
          'at most',
          `${MOST_MEGABYTES} MB`,
          `${above.toFixed(1)} MB (${told})`,
          above <= MOST_MEGABYTES,
        ),
      )
    }
    return { measures, targets }
  },
}

/** Returns the milliseconds of each round, and the median of the most megabytes, of each. */
async function measureStarts(keys: number, settings: Settings) {
  return await withDirectory(settings, async (path) => {
    const programs: [name: string, file: string][] = [[NODE, programOf(path, NODE, '')]]
    for (const { contender, module, statements } of LANES) {
      const store = join(path, contender.name)
      await build(contender, store, keys, settings)
      const file = module.startsWith('/') ? module : peerFile(module)
      const text = `
        import * as namespace from ${JSON.stringify(pathToFileURL(file).href)}
        const module = { ...namespace.default, ...namespace }
        const path = ${JSON.stringify(store)}
        const key = ${JSON.stringify(keyAt(keys >> 1))}
        ${statements}
        if (value === undefined) throw new Error('The key is not there')`
      programs.push([contender.name, programOf(path, contender.name, text)])
    }
    const times = new Map<string, number[]>(programs.map(([name]) => [name, []]))
    const used = new Map<string, number[]>(programs.map(([name]) => [name, []]))
    for (let round = -1; round < settings.rounds; round++) {
      const taken = new Map<string, number>()
      for (let count = 0; count < STARTS_PER_ROUND; count++) {
        for (const [name, file] of programs) {
          const beganAt = performance.now()
          const kilobytes = Number(execFileSync(process.execPath, [file], { encoding: 'utf8' }))
          taken.set(name, (taken.get(name) ?? 0) + performance.now() - beganAt)
          used.get(name)?.push(kilobytes / 1024)
        }
      }
      // The first round reads the files from the disk.
      if (round < 0) continue
      for (const [name, ms] of taken) times.get(name)?.push(ms / STARTS_PER_ROUND)
    }
    return { times, megabytes: new Map([...used].map(([name, all]) => [name, median(all)])) }
  })
}

async function build(contender: Contender, path: string, keys: number, settings: Settings) {
  const store = await contender.open(path, 'unsynced', new Values(settings.valueBytes))
  await load(store, 0, keys, LARGE_WINDOW)
  await store.close()
}

/**
 * The most memory that a process has taken, in kilobytes. Linux counts what the parent had in the
 * figure that Node returns.
 */
const MEMORY = `
const { readFileSync } = process.getBuiltinModule('node:fs')
const status = process.platform === 'linux' ? readFileSync('/proc/self/status', 'utf8') : ''
const [, most = process.memoryUsage.rss() / 1024] = /VmHWM:\\s+(\\d+)/.exec(status) ?? []
console.log(most)
`

/** Writes a program that ends by printing the most memory that it has taken. */
function programOf(path: string, name: string, text: string): string {
  const file = join(path, `${name.replaceAll(' ', '-')}.mjs`)
  writeFileSync(file, text + MEMORY)
  return file
}
