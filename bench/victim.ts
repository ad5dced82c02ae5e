/** A process that fills a cache, and is killed with it still open: what a crash of a program leaves. */

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { CACHES } from './contenders/caches.ts'
import { ascendingOrder } from './workload.ts'

/** What is filled in a turn of the event loop. */
const TURN = 100
/** A program lives on for a while behind its last write; what a cache does meanwhile is done. */
const IDLE_MS = 2500

/** Fills a cache with the first `keys` keys in a process of its own, and kills that. */
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
