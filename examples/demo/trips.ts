import type { BatchOperation } from 'firkin'
import type { City } from './cities.ts'

/** How many keys one trip has; all of them are written by one batch. */
export const TRIP_SIZE = 500

/** What all keys of trips begin with. */
export const TRIPS = 'trip:'

/** Makes a trip's batch some megabytes, so that a kill is likely to hit it while it is being written. */
const DIARY = 'We saw a great deal. '.repeat(400)

/** What all keys of one trip begin with. */
export function tripPrefix(trip: number): string {
  return `${TRIPS}${String(trip).padStart(6, '0')}:`
}

/** The batch of one trip: its stops, each with a long diary. */
export function tripBatch(trip: number): BatchOperation<City>[] {
  return Array.from({ length: TRIP_SIZE }, (_, stop) => ({
    type: 'put',
    key: tripPrefix(trip) + stop,
    value: { name: `Stop ${stop}`, country: '', lat: '', lng: '', admin1: DIARY, admin2: '' },
  }))
}
