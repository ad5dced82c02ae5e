/** Uses a cache in a directory: tags, shared loads, and stale values while a load runs. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openCache } from 'firkin/cache'

type User = { readonly name: string }

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
let nowMs = Date.parse('2024-05-17T12:00Z')
const cache = await openCache<User>(directory, {
  maxBytes: 64 * 2 ** 20,
  valueEncoding: 'json',
  clock: () => nowMs,
})

cache.set('user:7', { name: 'Ada' }, { ttlMs: 60_000, tags: ['users'] })
console.log('hit:', cache.get('user:7'))

let loads = 0
const load = async (): Promise<User> => ({ name: `Bob, load ${++loads}` })
const options = { ttlMs: 60_000, staleMs: 60_000, tags: ['users'] }
const bobs = await Promise.all([1, 2].map(() => cache.getOrSet('user:8', load, options)))
console.log(
  'asked twice:',
  bobs.map(({ name }) => name),
)

nowMs += 90_000
console.log('expired:', cache.get('user:7'))
console.log('stale, while it is loaded again:', await cache.getOrSet('user:8', load, options))
cache.invalidateTags('users')
console.log('invalidated, so loaded:', await cache.getOrSet('user:8', load, options))
console.log('hits, stale hits:', cache.stats().hits, cache.stats().staleHits)

await cache.close()
await rm(directory, { recursive: true })
