/** Gives an HTTP client a cache that survives its process. */

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FirkinCacheStore } from 'firkin/undici'
import { Agent, fetch, interceptors } from 'undici'

let answers = 0
const server = createServer((_, response) => {
  response.setHeader('cache-control', 'max-age=60')
  response.end(`answer ${++answers}`)
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
const directory = await mkdtemp(join(tmpdir(), 'firkin-'))

// Two lives of a client, as if its process had ended between them.
for (const life of ['first', 'second']) {
  const store = await FirkinCacheStore.open(directory, { maxSize: 64 * 2 ** 20 })
  const agent = new Agent()
  const dispatcher = agent.compose(interceptors.cache({ store }))
  for (const _ of [1, 2]) {
    console.log(`${life} life:`, await (await fetch(url, { dispatcher })).text())
  }
  await agent.close()
  await store.close()
}

console.log('requests that reached the server:', answers)
server.close()
await rm(directory, { recursive: true })
