/** The process that the demo kills: it writes batch after batch, and tells which ones have settled. */

import { open } from 'firkin'
import type { City } from './cities.ts'
import { tripBatch } from './trips.ts'

const [directory = '', first = ''] = process.argv.slice(2)
const store = await open<City>(directory, { valueEncoding: 'json' })

for (let trip = Number(first); ; trip++) {
  await store.batch(tripBatch(trip)).commit()
  process.send?.(trip)
}
