/** Reads ordered keys: by range or prefix, from the end, and up to a limit. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const log = await open(directory, { valueEncoding: 'utf8' })

for (let day = 1; day <= 31; day++) {
  const date = `2024-05-${String(day).padStart(2, '0')}`
  await log
    .batch()
    .put(`rain:${date}`, `${day % 7} mm`)
    .put(`sun:${date}`, `${day % 10} h`)
    .commit()
}

console.log('rain in May:', log.count({ prefix: 'rain:2024-05' }), 'days')
console.log('from the 29th:', [...log.values({ gte: 'rain:2024-05-29', lt: 'rain:2024-06' })])
console.log('last sun:', ...log.entries({ prefix: 'sun:', reverse: true, limit: 1 }))

// An iterator shows the store as it was at the start, whatever is written meanwhile.
for (const key of log.keys({ prefix: 'rain:', lte: 'rain:2024-05-10' })) log.deleteSync(key)
console.log('left:', log.count({ prefix: 'rain:' }))

// Keys are compared byte by byte, so numbers need leading zeros, or their highest byte first.
console.log('cleared:', await log.clear({ prefix: 'rain:' }), 'left in all:', log.count())

await log.close()
await rm(directory, { recursive: true })
