/**
 * The command `npm run mutate`: plants faults in the engine, one at a time, and prints those that
 * no test notices.
 *
 * 1. Draw the mutants of each area from a seed.
 * 2. Copy the project once for each job, and build it.
 * 3. Plant a mutant in a copy, build, and run the tests of its area until the first failure.
 *
 * A mutant that does not compile is replaced by the next one drawn. Each survivor is explained in
 * survivors.md, or gets a test that kills it. The exit status is 1 if one survives without an
 * explanation.
 */

import { spawn } from 'node:child_process'
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { Random } from '../support/random.ts'
import { AREAS, type Area } from './areas.ts'
import { findMutants, type Mutant, plant } from './mutants.ts'

/** The fate of a mutant. */
type Fate = 'killed' | 'survived' | 'timed out' | 'does not compile'

interface Flags {
  readonly count: number
  readonly seed: number
  readonly jobs: number
  readonly area: readonly string[]
}

/** A mutant, with its area and file. */
interface Planting {
  readonly area: Area
  /** The path of the source, below the project. */
  readonly file: string
  readonly mutant: Mutant
}

const PROJECT = join(import.meta.dirname, '../../..')
const VITEST = ['vitest', 'run', '--config', 'test/mutation/vitest.config.ts']
/** The stride of the sweeps: they try one call in that number. */
const SWEEP_STRIDE = '9'
/** The time after which a test run counts as hung, and the mutant as noticed. */
const TEST_TIMEOUT_MS = 240_000
const COPIED = [
  'src',
  'test',
  'tools',
  'examples',
  'bench',
  'package.json',
  'tsconfig.json',
  'README.md',
  '.github',
]
const NOT_COPIED = /node_modules|\/results$/

await new Command('mutate')
  .description('Plants faults in the engine, one at a time, and prints those that no test notices.')
  .option('--count <count>', 'how many mutants, spread evenly over the areas', numeral, 300)
  .option('--seed <number>', 'what they are drawn by', numeral, 1)
  .option('--jobs <count>', 'how many are tested at a time', numeral, 1)
  .addOption(
    new Option('--area <names...>', 'only these areas')
      .choices(AREAS.map(({ name }) => name))
      .default(
        AREAS.map(({ name }) => name),
        'all',
      ),
  )
  .action(main)
  .parseAsync()

async function main({ count, seed, jobs, area }: Flags): Promise<void> {
  const areas = AREAS.filter(({ name }) => area.includes(name))
  const queues = areas.map((each) => draw(each, seed))
  const wanted = Math.ceil(count / areas.length)
  const tally = new Map<string, number>()
  let unexplained = 0
  const explained = readFileSync(join(PROJECT, 'test/mutation/survivors.md'), 'utf8')

  await Promise.all(
    Array.from({ length: jobs }, async () => {
      const copy = copyProject()
      try {
        for (let next = takeNext(); next !== undefined; next = takeNext()) {
          const fate = await judge(copy, next)
          const { file, mutant, area } = next
          if (fate === 'does not compile') {
            tally.set(area.name, (tally.get(area.name) ?? 1) - 1)
            continue
          }
          const isExplained = explained.includes(`\`${mutant.description}\``)
          if (fate === 'survived' && !isExplained) unexplained++
          const note = fate === 'survived' && isExplained ? ' (explained)' : ''
          console.log(`${fate}${note}: ${file}:${mutant.line} ${mutant.description}`)
        }
      } finally {
        rmSync(copy, { recursive: true, force: true })
      }
    }),
  )
  console.log(`${unexplained} survived without an explanation`)
  if (unexplained > 0) process.exitCode = 1

  /** Returns the next mutant of the area that has had the fewest. */
  function takeNext(): Planting | undefined {
    const open = areas
      .map((each, index) => ({ area: each, queue: queues[index] ?? [] }))
      .filter(({ area, queue }) => queue.length > 0 && (tally.get(area.name) ?? 0) < wanted)
      .sort((a, b) => (tally.get(a.area.name) ?? 0) - (tally.get(b.area.name) ?? 0))
    const first = open[0]
    if (first === undefined) return undefined
    tally.set(first.area.name, (tally.get(first.area.name) ?? 0) + 1)
    return first.queue.shift()
  }
}

/** Lists all mutants of an area, in an order drawn from the seed. */
function draw(area: Area, seed: number): Planting[] {
  const random = new Random(seed)
  const plantings = area.sources.flatMap(sourceFiles).flatMap((file) =>
    findMutants(readFileSync(join(PROJECT, file), 'utf8')).map((mutant) => ({
      area,
      file,
      mutant,
    })),
  )
  for (let at = plantings.length - 1; at > 0; at--) {
    const other = random.below(at + 1)
    const [a, b] = [plantings[at], plantings[other]]
    if (a !== undefined && b !== undefined) [plantings[at], plantings[other]] = [b, a]
  }
  return plantings
}

function sourceFiles(source: string): string[] {
  const path = join('src', source)
  if (!statSync(join(PROJECT, path)).isDirectory()) return [path]
  return readdirSync(join(PROJECT, path))
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => join(path, name))
}

function copyProject(): string {
  const copy = mkdtempSync(join(tmpdir(), 'firkin-mutate-'))
  for (const name of COPIED) {
    cpSync(join(PROJECT, name), join(copy, name), {
      recursive: true,
      filter: (path) => !NOT_COPIED.test(path.slice(PROJECT.length)),
    })
  }
  symlinkSync(join(PROJECT, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

/** Plants a mutant, builds, and runs the area's tests. Leaves the copy as it was. */
async function judge(copy: string, { area, file, mutant }: Planting): Promise<Fate> {
  const path = join(copy, file)
  const source = readFileSync(path, 'utf8')
  writeFileSync(path, plant(source, mutant))
  try {
    if ((await run(copy, ['tsc', '-p', 'src'])) !== 0) return 'does not compile'
    for (const stage of area.tests) {
      const tests = stage.map((name) => join(copy, 'test', name))
      const code = await run(copy, [...VITEST, ...tests])
      if (code !== 0) return code === undefined ? 'timed out' : 'killed'
    }
    return 'survived'
  } finally {
    writeFileSync(path, source)
  }
}

/** Runs a command of the project. Returns its exit status, or `undefined` if it took too long. */
function run(cwd: string, [command = '', ...args]: readonly string[]): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    // In its own process group, so that processes that a test has started end with it.
    const child = spawn(join(cwd, 'node_modules/.bin', command), args, {
      cwd,
      stdio: 'ignore',
      detached: true,
      env: { ...process.env, FIRKIN_SWEEPS: SWEEP_STRIDE },
    })
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    }, TEST_TIMEOUT_MS)
    child.once('error', reject)
    child.once('exit', (code) => {
      clearTimeout(timer)
      resolve(timedOut ? undefined : (code ?? 1))
    })
  })
}

function numeral(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) {
    throw new InvalidArgumentError('It must be a positive integer.')
  }
  return number
}
