/** Commits batches: after a crash at any moment, each is there as a whole or not at all. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const accounts = await open<number>(directory, { valueEncoding: 'json' })

await accounts.batch().put('ada', 100).put('bob', 20).commit()

async function transfer(from: string, to: string, amount: number): Promise<void> {
  const left = (accounts.get(from) ?? 0) - amount
  if (left < 0) throw new Error(`${from} has not enough`)
  const right = (accounts.get(to) ?? 0) + amount
  await accounts.batch().put(from, left).put(to, right).commit()
}

await transfer('ada', 'bob', 30)
console.log(Object.fromEntries(accounts.entries()))

// From a list; nothing happens before commit.
const batch = accounts.batch([
  { type: 'put', key: 'cleo', value: 5 },
  { type: 'delete', key: 'bob' },
])
console.log(`${batch.length} changes, bob still has ${accounts.get('bob')}`)
await batch.commit()
console.log(Object.fromEntries(accounts.entries()))

await accounts.close()
await rm(directory, { recursive: true })
