/** Stores objects: `valueEncoding` sets how they are stored, and a type parameter their type. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

interface User {
  readonly name: string
  readonly visits: number
}

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const users = await open<User>(join(directory, 'users'), { valueEncoding: 'json' })

await users.put('user:7', { name: 'Ada', visits: 1 })
const ada = users.get('user:7')
if (ada !== undefined) await users.put('user:7', { ...ada, visits: ada.visits + 1 })
console.log(users.get('user:7'))

// A codec of your own: here for dates, as 8 bytes.
const seen = await open(join(directory, 'seen'), {
  valueEncoding: {
    encode: (date: Date) => new Uint8Array(new Float64Array([date.getTime()]).buffer),
    decode: (bytes) => new Date(bytes.readDoubleLE()),
  },
})

await seen.put('user:7', new Date('2024-05-17'))
console.log('seen in', seen.get('user:7')?.getUTCFullYear())

await users.close()
await seen.close()
await rm(directory, { recursive: true })
