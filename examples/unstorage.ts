/** Uses a store as a driver of unstorage. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { firkinDriver } from 'firkin/unstorage'
import { createStorage } from 'unstorage'

const base = await mkdtemp(join(tmpdir(), 'firkin-'))

const storage = createStorage({ driver: firkinDriver({ base }) })
await storage.watch((event, key) => console.log(event, key))

await storage.setItem('users:ada', { visits: 2 })
await storage.setItem('users:bob', { visits: 1 }, { ttl: 60 })
await storage.setItemRaw('pixel.gif', Buffer.from('GIF89a'))
console.log('users:', await storage.getKeys('users'))
console.log('raw:', await storage.getItemRaw('pixel.gif'))

const { size, ttl } = await storage.getMeta('users:bob')
console.log(`bob: ${size} bytes, gone within ${Math.ceil((ttl ?? 0) / 60)} minute`)
await storage.dispose()

const again = createStorage({ driver: firkinDriver({ base }) })
console.log('after a restart:', await again.getItem('users:ada'))
await again.dispose()
await rm(base, { recursive: true })
