import type { Bench } from './bench.ts'
import { getHit, getMiss } from './benches/get.ts'
import { iterate } from './benches/iterate.ts'
import { batch, put, putSync } from './benches/put.ts'

/** All benches, in the order in which they run. */
export const BENCHES: readonly Bench[] = [getHit, getMiss, put, putSync, batch, iterate]

/** The benches that a word on the command line means: the one of that name, and those that begin with it. */
export function benchesNamed(word: string): readonly Bench[] {
  return BENCHES.filter(({ name }) => name === word || name.startsWith(`${word}-`))
}
