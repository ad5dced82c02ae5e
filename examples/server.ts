/** Serves the results of a slow function from a cache that survives the process. */

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { openCache } from 'firkin/cache'

let computations = 0
async function countPrimes(below: number): Promise<number> {
  computations++
  await setTimeout(100)
  const isPrime = (n: number) =>
    n > 1 && !Array.from({ length: n - 2 }, (_, i) => n % (i + 2)).includes(0)
  return Array.from({ length: below }, (_, n) => n).filter(isPrime).length
}

async function start(directory: string) {
  const cache = await openCache<number>(directory, { maxBytes: 2 ** 24, valueEncoding: 'json' })
  const primes = cache.memoize(countPrimes, { key: (below) => `primes below ${below}` })
  const server = createServer(async ({ url = '/' }, response) => {
    response.end(`${await primes(Number(url.slice(1)))} primes`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, cache, port: (server.address() as AddressInfo).port }
}

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
for (const life of ['first', 'second']) {
  const { server, cache, port } = await start(directory)
  const ask = async () => await (await fetch(`http://127.0.0.1:${port}/1000`)).text()
  // Requests that come during a computation wait for the same one.
  console.log(`${life} life:`, await Promise.all([ask(), ask(), ask()]), computations, 'computed')
  server.close()
  await cache.close()
}
await rm(directory, { recursive: true })
