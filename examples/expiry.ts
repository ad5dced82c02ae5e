/** Puts entries that expire. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))

// The clock is an option, so that this example does not wait an hour.
let nowMs = Date.parse('2024-05-17T12:00Z')
const sessions = await open(directory, { ttlMs: 3_600_000, clock: () => nowMs })

await sessions.put('by the store', 'an hour')
await sessions.put('by itself', 'a minute', { ttlMs: 60_000 })
await sessions.put('until', 'midnight', { expiresAt: new Date('2024-05-18') })
await sessions.put('for ever', 'stays', { ttlMs: Number.POSITIVE_INFINITY })
console.log('at noon:', [...sessions.keys()])

nowMs += 60_000
console.log('a minute later:', [...sessions.keys()])

nowMs = Date.parse('2024-05-18')
console.log('at midnight:', [...sessions.keys()])

// A sweep in the background frees memory, and a merge frees the disk. Neither needs a read.
const { bytesGained } = await sessions.merge()
console.log('bytes given back:', bytesGained)

await sessions.close()
await rm(directory, { recursive: true })
