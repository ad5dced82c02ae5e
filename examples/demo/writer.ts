/**
 * Writes batch after batch and reports those that have settled, until the demo kills the process.
 */

import { open } from 'firkin'
import type { City } from './cities.ts'
import { tripBatch } from './trips.ts'

const [directory = '', first = ''] = process.argv.slice(2)
const store = await open<City>(directory, { valueEncoding: 'json' })

for (let trip = Number(first); ; trip++) {
  await store.batch(tripBatch(trip)).commit()
  process.send?.(trip)
}
