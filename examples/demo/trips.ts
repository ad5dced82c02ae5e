/** Makes the batches that the killed process writes. */

import type { BatchOperation } from 'firkin'
import type { City } from './cities.ts'

/** The number of keys of a trip, which one batch writes. */
export const TRIP_SIZE = 500

/** The prefix of the keys of all trips. */
export const TRIPS = 'trip:'

/** Makes a batch some megabytes long, so that a kill probably hits it while it is written. */
const DIARY = 'We saw a great deal. '.repeat(400)

/** Returns the prefix of the keys of a trip. */
export function tripPrefix(trip: number): string {
  return `${TRIPS}${String(trip).padStart(6, '0')}:`
}

/** Makes the batch of a trip: its stops, each with a long diary. */
export function tripBatch(trip: number): BatchOperation<City>[] {
  return Array.from({ length: TRIP_SIZE }, (_, stop) => ({
    type: 'put',
    key: tripPrefix(trip) + stop,
    value: { name: `Stop ${stop}`, country: '', lat: '', lng: '', admin1: DIARY, admin2: '' },
  }))
}
