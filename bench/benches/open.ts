/** Measures the time until a store is open and has returned a value. */

import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { CHECKPOINT_NAME, parseName } from '../../src/format/names.ts'
import { open as openStore } from '../../src/index.ts'
import type { Bench, Settings } from '../bench.ts'
import type { Contender } from '../contender.ts'
import { firkin } from '../contenders/firkin.ts'
import { collectGarbage } from '../race.ts'
import { bound, type Measure, measure, type Report, type Target } from '../report.ts'
import { FIRKIN, FIRKIN_HASH, LARGE_WINDOW, load, PEERS, withDirectory } from '../stores.ts'
import { Values } from '../workload.ts'

/** Segments so small that almost all keys are in segments that have a hint. */
const HINTED_SEGMENT_BYTES = 4 * 1024 * 1024

const OWN_KINDS = [
  { name: FIRKIN.name, keydir: 'btree' },
  { name: FIRKIN_HASH.name, keydir: 'hash' },
] as const

const MAX_OPEN_MS = 30
const HINT_KEYS_PER_SECOND = 2_000_000
const RAW_MB_PER_SECOND = 300

/** Creates a store of `keys` keys in `path`, and closes it. */
async function build(contender: Contender, path: string, keys: number, settings: Settings) {
  const store = await contender.open(path, 'unsynced', new Values(settings.valueBytes))
  await load(store, 0, keys, LARGE_WINDOW)
  await store.close()
}

/** Opens and closes several times; returns the milliseconds to open and to read one present key. */
async function openTimes(
  contender: Contender,
  path: string,
  { rounds, valueBytes }: Settings,
  prepare: () => void = () => undefined,
): Promise<number[]> {
  const values = new Values(valueBytes)
  const one = Uint32Array.of(0)
  const times: number[] = []
  for (let round = -1; round < rounds; round++) {
    prepare()
    collectGarbage()
    const beganAt = performance.now()
    const store = await contender.open(path, 'unsynced', values)
    if (store.read(one, 0, 1) !== 1) throw new Error(`${contender.name} has lost a key`)
    if (round >= 0) times.push(performance.now() - beganAt)
    await store.close()
  }
  return times
}

/** Opening after a clean close. */
export const open: Bench = {
  name: 'open',
  about:
    'open after a clean close, up to the first value read, at a tenth of --keys, once and ten times as many',
  async run(settings): Promise<Report> {
    const measures: Measure[] = []
    const targets: Target[] = []
    for (const keys of [settings.keys / 10, settings.keys, settings.keys * 10]) {
      const what = `open, ${keys.toLocaleString('en-GB')} keys`
      const contenders = [FIRKIN, FIRKIN_HASH, ...(keys <= settings.keys ? PEERS : [])]
      for (const contender of contenders) {
        const isOwn = contender === FIRKIN || contender === FIRKIN_HASH
        await withDirectory(settings, async (path) => {
          await build(contender, path, keys, settings)
          const opened = measure(
            what,
            contender.name,
            'ms',
            await openTimes(contender, path, settings),
          )
          measures.push(opened)
          if (!isOwn) return
          const reached = `${opened.median.toFixed(1)} ms`
          targets.push(
            bound(
              `${what}: ${contender.name}`,
              'at most',
              `${MAX_OPEN_MS} ms`,
              reached,
              opened.median <= MAX_OPEN_MS,
            ),
          )
        })
      }
    }
    return { measures, targets }
  },
}

function removeFiles(path: string, names: (name: string) => boolean): void {
  for (const name of readdirSync(path)) if (names(name)) rmSync(join(path, name))
}

function segmentBytes(path: string): number {
  return readdirSync(path)
    .filter((name) => parseName(name).type === 'segment')
    .reduce((sum, name) => sum + statSync(join(path, name)).size, 0)
}

/**
 * Makes a bench of opening a store that has lost its checkpoint, and for `open-raw` its hints too.
 * If hints are read, segments are small, because the active one has no hint.
 */
function rebuild(name: 'open-hints' | 'open-raw'): Bench {
  const raw = name === 'open-raw'
  const source = raw ? 'raw segments' : 'hints'
  return {
    name,
    about: `open from ${source} alone`,
    async run(settings): Promise<Report> {
      const { keys } = settings
      const what = `open from ${source}`
      const measures: Measure[] = []
      const targets: Target[] = []
      for (const { name, keydir } of OWN_KINDS) {
        const size = raw ? {} : { maxSegmentBytes: HINTED_SEGMENT_BYTES }
        const contender = firkin(name, { keydir, ...size })
        await withDirectory(settings, async (path) => {
          await build(contender, path, keys, settings)
          const bytes = segmentBytes(path)
          const times = await openTimes(contender, path, settings, () => {
            removeFiles(
              path,
              (file) => file === CHECKPOINT_NAME || (raw && parseName(file).type === 'hint'),
            )
          })
          const perKey = times.map((ms) => (keys * 1000) / ms)
          const perByte = times.map((ms) => bytes / 1000 / ms)
          const rates = [
            measure(what, contender.name, 'keys/s', perKey),
            measure(what, contender.name, 'MB/s', perByte),
          ] as const
          measures.push(...rates)
          const [limit, unit, rate] = raw
            ? [RAW_MB_PER_SECOND, 'MB/s', rates[1].median]
            : [HINT_KEYS_PER_SECOND, 'keys/s', rates[0].median]
          targets.push(
            bound(
              `${what}: ${contender.name}`,
              'at least',
              `${limit.toLocaleString('en-GB')} ${unit}`,
              `${Math.round(rate).toLocaleString('en-GB')} ${unit}`,
              rate >= limit,
            ),
          )
          await assertComplete(path, keydir, keys)
        })
      }
      return { measures, targets }
    },
  }
}

async function assertComplete(path: string, keydir: 'btree' | 'hash', keys: number): Promise<void> {
  await using store = await openStore(path, { keydir })
  if (store.stats().keys !== keys)
    throw new Error(`The store has ${store.stats().keys} keys of ${keys}`)
}

/** Opening from hints. */
export const openHints: Bench = rebuild('open-hints')
/** Opening from segments. */
export const openRaw: Bench = rebuild('open-raw')
