/** Reads a store beside its writer, as any number of processes may, and follows its writes. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const writer = await open(directory, { valueEncoding: 'utf8' })
await writer.put('news', 'none yet')

// The reader is in this process only to keep the example small.
const reader = await open(directory, { valueEncoding: 'utf8', readOnly: true })
console.log('at first:', reader.get('news'))

await writer.put('news', 'it rains')
console.log('before refresh:', reader.get('news'))
console.log('anything new:', await reader.refresh())
console.log('after refresh:', reader.get('news'))

// With `follow` a reader refreshes by itself, here every 10 milliseconds.
const follower = await open(directory, { valueEncoding: 'utf8', readOnly: true, follow: 10 })
await writer.put('news', 'the sun is out')
while (follower.get('news') === 'it rains') await setTimeout(10)
console.log('followed:', follower.get('news'))

await Promise.all([reader.close(), follower.close(), writer.close()])
await rm(directory, { recursive: true })
