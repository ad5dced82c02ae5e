/** The command `firkin bench`: measures this machine. */

import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Command } from 'commander'
import { canMap } from '../../src/io/mapping.ts'
import { open, type Store } from '../../src/store/store.ts'
import { withExamples } from '../examples.ts'
import type { Progress } from '../progress.ts'
import type { Call, Session } from '../session.ts'
import { formatCount, formatDuration, parseCount } from '../text.ts'

interface BenchOptions {
  readonly keys: string
  readonly valueSize: string
}

/** The time that one kind of operation took. */
interface Measurement {
  readonly name: string
  readonly count: number
  readonly milliseconds: number
}

/** The number of durable puts: each waits for the disk, and these are enough for a figure. */
const MAX_DURABLE_PUTS = 500
/** Primes whose least common multiple is larger than the number of keys. */
const STRIDES = [7919, 7907, 7901]
/** The number of operations after which an interrupt is looked for. */
const STRETCH = 10_000

/** Makes the command `bench`. */
export function benchCommand(session: Session): Command {
  const command = new Command('bench')
    .description('measure this machine: put, get, range, durable put, open, merge')
    .argument(
      '[directory]',
      'where to put a store that is removed afterwards; a temporary place where missing',
    )
    .option('--keys <count>', 'how many keys', '100000')
    .option('--value-size <bytes>', 'the size of each value', '100')
    .action(session.action<[directory: string | undefined], BenchOptions>(bench))
  return withExamples(command, 'firkin bench', 'firkin bench /mnt/disk --keys 1000000')
}

async function bench(call: Call<BenchOptions>, directory: string | undefined): Promise<void> {
  const { options, output } = call
  const keyCount = parseCount(options.keys, 1)
  const valueSize = parseCount(options.valueSize)
  const place = await mkdtemp(join(resolve(directory ?? tmpdir()), 'firkin-bench-'))
  call.summarise(() => `${place} was removed`)
  try {
    const measurements = await new Bench(call, place, keyCount, valueSize).run()
    const machine = {
      node: process.version,
      cpu: cpus()[0]?.model ?? '?',
      mapping: canMap(),
    }
    if (output.isJson) await output.json({ ...machine, keyCount, valueSize, measurements })
    else {
      const mapped = machine.mapping ? 'with' : 'without'
      output.note(`Node ${machine.node}, ${machine.cpu}, ${mapped} mapping`)
      await output.table(
        [
          { title: 'operation', flexible: true },
          { title: 'count', align: 'right' },
          { title: 'each', align: 'right' },
          { title: 'a second', align: 'right' },
        ],
        measurements.map(({ name, count, milliseconds }) => [
          name,
          formatCount(count),
          formatDuration(milliseconds / count),
          formatCount(Math.round((count / milliseconds) * 1000)),
        ]),
      )
    }
  } finally {
    await rm(place, { recursive: true, force: true })
  }
}

class Bench {
  readonly #call: Call<BenchOptions>
  readonly #directory: string
  readonly #keyCount: number
  readonly #value: Buffer
  readonly #measurements: Measurement[] = []

  constructor(call: Call<BenchOptions>, directory: string, keyCount: number, valueSize: number) {
    this.#call = call
    this.#directory = directory
    this.#keyCount = keyCount
    this.#value = Buffer.alloc(valueSize, 'v')
  }

  async run(): Promise<readonly Measurement[]> {
    const merge = { automatic: false }
    {
      await using store = await open(this.#directory, { merge })
      await this.#puts(store)
      await this.#gets(store)
      await this.#range(store)
    }
    {
      await using store = await this.#opening(() => open(this.#directory, { merge }))
      // Every second key is overwritten, so that half of the first segments is dead.
      for (let index = 0; index < this.#keyCount; index += 2) {
        await store.put(keyOf(index), this.#value)
      }
      await this.#measure('merge', 1, async (progress) => {
        await store.merge({
          signal: this.#call.interrupt,
          onProgress: ({ bytesRead, bytesTotal }) =>
            progress.update(Math.floor((bytesRead / bytesTotal) * this.#keyCount), this.#keyCount),
        })
      })
    }
    await using store = await open(this.#directory, { merge, sync: 'always' })
    await this.#durablePuts(store)
    return this.#measurements
  }

  async #puts(store: Store): Promise<void> {
    await this.#measure('put', this.#keyCount, async (progress) => {
      let last: Promise<void> | undefined
      await this.#each(progress, (index) => {
        last = store.put(keyOf(index), this.#value)
      })
      await last
    })
  }

  async #gets(store: Store): Promise<void> {
    const stride = strideOver(this.#keyCount)
    let missing = 0
    await this.#measure('get', this.#keyCount, async (progress) => {
      await this.#each(progress, (index) => {
        if (store.get(keyOf((index * stride) % this.#keyCount)) === undefined) missing++
      })
    })
    if (missing > 0) throw new Error(`${missing} keys were not found`)
  }

  async #range(store: Store): Promise<void> {
    let seen = 0
    await this.#measure('range, an entry', this.#keyCount, async () => {
      for (const [, value] of store.entries()) seen += value.length === this.#value.length ? 1 : 0
    })
    if (seen !== this.#keyCount) throw new Error(`${seen} of ${this.#keyCount} entries were seen`)
  }

  async #durablePuts(store: Store): Promise<void> {
    const count = Math.min(MAX_DURABLE_PUTS, this.#keyCount)
    await this.#measure('durable put, one at a time', count, async () => {
      for (let index = 0; index < count; index++) {
        this.#call.interrupt.throwIfAborted()
        await store.put(keyOf(index), this.#value)
      }
    })
  }

  async #opening(work: () => Promise<Store>): Promise<Store> {
    const beganAt = performance.now()
    const store = await work()
    this.#add('open', 1, beganAt)
    return store
  }

  async #measure(
    name: string,
    count: number,
    work: (progress: Progress) => Promise<void>,
  ): Promise<void> {
    this.#call.interrupt.throwIfAborted()
    using progress = this.#call.output.progress(name, 'records')
    const beganAt = performance.now()
    await work(progress)
    this.#add(name, count, beganAt)
  }

  #add(name: string, count: number, beganAt: number): void {
    this.#measurements.push({ name, count, milliseconds: performance.now() - beganAt })
  }

  async #each(progress: Progress, work: (index: number) => void): Promise<void> {
    for (let index = 0; index < this.#keyCount; index++) {
      work(index)
      if (index % STRETCH !== 0) continue
      progress.update(index, this.#keyCount)
      await setImmediate()
      this.#call.interrupt.throwIfAborted()
    }
  }
}

/** Returns a step that, modulo `count`, visits each of `count` indexes once in another order. */
export function strideOver(count: number): number {
  const isCoprime = (prime: number): boolean => count % prime !== 0
  return STRIDES.find(isCoprime) ?? 1
}

function keyOf(index: number): string {
  return `key:${String(index).padStart(12, '0')}`
}
