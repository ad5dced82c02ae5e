/** Lists the benches. */

import type { Bench } from './bench.ts'
import { amplification } from './benches/amplification.ts'
import { cacheGet, cacheHitRatio, cacheReopen, cacheSet } from './benches/cache.ts'
import { capacity, insertStall, memory } from './benches/capacity.ts'
import { cold } from './benches/cold.ts'
import { durablePut } from './benches/durable-put.ts'
import { floor } from './benches/floor.ts'
import { getHit, getMiss } from './benches/get.ts'
import { growth } from './benches/growth.ts'
import { iterate } from './benches/iterate.ts'
import { keydir } from './benches/keydir.ts'
import { merge } from './benches/merge.ts'
import { checksum, keyEncoding, shortCopy } from './benches/micro.ts'
import { open, openHints, openRaw } from './benches/open.ts'
import { batch, put, putModes, putSync } from './benches/put.ts'
import { start } from './benches/start.ts'
import { unmapped } from './benches/unmapped.ts'
import { valueSize } from './benches/value-size.ts'
import { ycsb } from './benches/ycsb.ts'

/** All benches, in the order in which they run. */
export const BENCHES: readonly Bench[] = [
  getHit,
  getMiss,
  put,
  putSync,
  putModes,
  batch,
  durablePut,
  iterate,
  unmapped,
  open,
  openHints,
  openRaw,
  start,
  ...memory,
  ...insertStall,
  merge,
  ycsb,
  valueSize,
  growth,
  amplification,
  cacheGet,
  cacheSet,
  cacheHitRatio,
  cacheReopen,
  cold,
  ...capacity,
  floor,
  keydir,
  checksum,
  shortCopy,
  keyEncoding,
]

/** Returns the benches that a word of the command line selects: `get` selects `get-hit` too. */
export function benchesNamed(word: string): readonly Bench[] {
  return BENCHES.filter(({ name }) => name === word || name.startsWith(`${word}-`))
}
