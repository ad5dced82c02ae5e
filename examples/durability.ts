/** Chooses by the option `sync` whether a settled write survives a power loss. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))

// Every settled write survives a power loss. Writes made together share one sync.
const ledger = await open(join(directory, 'ledger'), { sync: 'always' })
await Promise.all(Array.from({ length: 1000 }, (_, index) => ledger.put(`entry:${index}`, 'paid')))
console.log(ledger.count(), 'entries are on the disk')

// The default: every settled write survives the process, and after a second a power loss too.
const sessions = await open(join(directory, 'sessions'))
await sessions.put('session:1', 'open')
await sessions.sync()
console.log('so is session:1, for sync() was called')

// Limits of your own: the first that is reached begins a sync.
const metrics = await open(join(directory, 'metrics'), {
  sync: { everyWrites: 10_000, everyBytes: 2 ** 20, everyMs: 200 },
})
metrics.putSync('cpu', '0.7')
console.log('cpu is with the operating system, and on the disk within 200 ms')

await Promise.all([ledger.close(), sessions.close(), metrics.close()])
await rm(directory, { recursive: true })
