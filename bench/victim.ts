/** Fills a cache in a process, and kills that while the cache is open, as a crash would. */

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { CACHES } from './contenders/caches.ts'
import { ascendingOrder } from './workload.ts'

/** The number of sets in a turn of the event loop. */
const TURN = 100
/** A program usually lives on for a while after its last write, in which a cache may finish. */
const IDLE_MS = 2500

/** Fills a cache with the first `keys` keys in its own process, and kills that. */
export async function fillAndKill(
  name: string,
  directory: string,
  maxBytes: number,
  keys: number,
): Promise<void> {
  const victim = fork(fileURLToPath(import.meta.url), [
    name,
    directory,
    String(maxBytes),
    String(keys),
  ])
  await new Promise<void>((resolve, reject) => {
    victim.once('message', () => resolve())
    victim.once('error', reject)
    victim.once('exit', (code) => reject(new Error(`The victim ended with status ${code}`)))
  })
  const exited = new Promise((resolve) => victim.once('exit', resolve))
  victim.kill('SIGKILL')
  await exited
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, directory = '', maxBytes, count] = process.argv.slice(2)
  const contender = CACHES.find((each) => each.name === name)
  if (contender === undefined) throw new Error(`There is no cache ${name}`)
  const cache = await contender.open(directory, Number(maxBytes))
  const keys = Number(count)
  const order = ascendingOrder(0, keys)
  for (let at = 0; at < keys; at += TURN) {
    await cache.set(order, at, Math.min(keys, at + TURN))
    await new Promise((resolve) => setImmediate(resolve))
  }
  setTimeout(() => process.send?.('filled'), IDLE_MS)
}
