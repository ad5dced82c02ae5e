/** Opens a store, puts, gets, deletes, iterates, and closes it. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const store = await open(directory)

// Values are bytes unless an option says otherwise; a string is stored as UTF-8.
await store.put('colour', 'green')
await store.put('shape', 'round')
console.log('colour:', store.get('colour')?.toString())

// A missing key is not an error.
console.log('taste:', store.get('taste'))
console.log('shape was there:', await store.delete('shape'))
console.log('shape is there:', store.has('shape'))

for (const [key, value] of store.entries()) console.log(`${key} = ${value}`)

await store.close()
await rm(directory, { recursive: true })
