/** Takes a snapshot, which shows the store as it was at one moment while it is written. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const stock = await open<number>(directory, { valueEncoding: 'json' })
await stock.batch().put('apples', 3).put('pears', 5).commit()

const before = stock.snapshot()
await stock.put('apples', 2)
await stock.delete('pears')
await stock.put('plums', 8)

console.log('before:', Object.fromEntries(before.entries()))
console.log('now:', Object.fromEntries(stock.entries()))

// A merge keeps the entries that a snapshot shows.
await stock.merge()
console.log('pears, before:', before.get('pears'), 'now:', stock.get('pears'))

// A snapshot keeps its entries until it is closed; `using` closes it at the end of the block.
before.close()

await stock.close()
await rm(directory, { recursive: true })
