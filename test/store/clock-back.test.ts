/** Clocks that are set back: what had expired and was swept stays gone. */

import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { SweepMark } from '../../src/format/manifest.ts'
import { parseName } from '../../src/format/names.ts'
import type { KeydirKind, RecoveryReport } from '../../src/index.ts'
import { NO_ENTRY } from '../../src/keydir/keydir.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { Store } from '../../src/store/store.ts'
import { openEngineOn, putEmpty } from '../support/engine.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { Random } from '../support/random.ts'
import { DISK, openOn, type TextOptions, type TextStore, until } from '../support/store.ts'

const START_MS = 1_000_000_000
const MINUTE_MS = 60_000

/** A clock that a test sets. */
class Clock {
  nowMs = START_MS
  readonly read = (): number => this.nowMs
}

const IMAGES = ['checkpoint', 'hints', 'segments'] as const
type Image = (typeof IMAGES)[number]

/** Removes everything from which the keydir could be loaded, except one kind of image. */
function keepImage(files: FaultyFiles, image: Image): void {
  for (const name of files.list(DISK) ?? []) {
    const { type } = parseName(name)
    const goes = type === 'checkpoint' || (type === 'hint' && image === 'segments')
    if (image !== 'checkpoint' && goes) files.remove(join(DISK, name))
  }
}

/** Opens a store in which only a test sweeps, by planning a merge. */
async function openTimed(
  files: FaultyFiles,
  clock: Clock,
  options: TextOptions = {},
): Promise<TextStore> {
  return await openOn(files, { clock: clock.read, expiryIntervalMs: 2 ** 31 - 1, ...options })
}

async function sweep(store: TextStore): Promise<void> {
  await store.merge({ dryRun: true })
}

describe('a key that was swept', () => {
  it.each(IMAGES)('stays gone if the clock is set back, loaded from the %s', async (image) => {
    const files = new FaultyFiles(1)
    const clock = new Clock()
    const store = await openTimed(files, clock, { expiryIntervalMs: 1 })
    await store.put('gone', 'x', { ttlMs: 1000 })
    await store.put('stays', 'x')
    clock.nowMs += 1000
    await until(() => store.stats().expiredKeys === 1)
    await store.close()
    keepImage(files, image)

    clock.nowMs = START_MS
    const again = await openTimed(files, clock)

    expect(again.stats().recovery.source).toBe(image === 'checkpoint' ? 'checkpoint' : 'hints')
    expect(again.get('gone')).toBeUndefined()
    expect(again.has('gone')).toBe(false)
    expect(again.expiresAt('gone')).toBeUndefined()
    expect([...again.keys()]).toEqual(['stays'])
    expect(again.count()).toBe(1)
    expect(await again.delete('gone')).toBe(false)
    await again.put('gone', 'put again', { ttlMs: 10 })
    expect(again.get('gone')).toBe('put again')
    await again.close()
  })

  it('stays gone while the store is open', async () => {
    const clock = new Clock()
    const store = await openTimed(new FaultyFiles(1), clock)
    await store.put('gone', 'x', { ttlMs: 1000 })
    clock.nowMs += 1000
    await sweep(store)
    await store.put('later', 'x', { ttlMs: 1000 })

    clock.nowMs = START_MS

    expect([...store.keys()]).toEqual(['later'])
    await store.close()
  })

  it.each(['hints', 'segments'] as const)(
    'is swept again if the %s still hold it',
    async (image) => {
      const files = new FaultyFiles(1)
      const clock = new Clock()
      const store = await openTimed(files, clock)
      await store.put('gone', 'x', { ttlMs: 1000 })
      clock.nowMs += 1000
      await sweep(store)
      await store.close()
      keepImage(files, image)
      clock.nowMs = START_MS
      const again = await openTimed(files, clock)
      const before = again.stats().keys

      await sweep(again)

      expect([before, again.stats().keys]).toEqual([1, 0])
      expect((await again.merge()).bytesGained).toBeGreaterThan(0)
      await again.close()
    },
  )

  it('stays in a snapshot that was opened before', async () => {
    const clock = new Clock()
    const store = await openTimed(new FaultyFiles(1), clock)
    await store.put('gone', 'x', { ttlMs: 1000 })
    using snapshot = store.snapshot()

    clock.nowMs += 1000
    await sweep(store)

    expect(store.get('gone')).toBeUndefined()
    expect(snapshot.get('gone')).toBe('x')
    expect([...snapshot.keys()]).toEqual(['gone'])
    await store.close()
  })

  it('stays gone for a follower, and in a backup', async () => {
    const files = new FaultyFiles(1)
    const clock = new Clock()
    const store = await openTimed(files, clock)
    await store.put('gone', 'x', { ttlMs: 1000 })
    await store.put('old', 'x')
    await store.delete('old')
    const reader = await openTimed(files, clock, { readOnly: true })
    using old = reader.snapshot()
    clock.nowMs += 1000
    await sweep(store)
    await store.backup('/disk/backup')

    clock.nowMs = START_MS
    const isBack = reader.has('gone')
    await store.put('news', 'x')
    await store.merge()
    await reader.refresh()
    const backup = await Store.open<string>(
      '/disk/backup',
      { ...OPTIONS, clock: clock.read },
      on(files),
    )

    expect(isBack).toBe(true)
    expect(reader.has('gone')).toBe(false)
    expect(old.has('gone')).toBe(true)
    expect(backup.has('gone')).toBe(false)
    await Promise.all([reader.close(), store.close(), backup.close()])
  })

  it('stays gone after a kill if a manifest was written since, and may return if not', async () => {
    const files = new FaultyFiles(1)
    const clock = new Clock()
    const store = await openTimed(files, clock, { sync: 'always' })
    await store.put('gone', 'x', { ttlMs: 1000 })
    await store.put('old', 'x')
    clock.nowMs += 1000
    await sweep(store)
    const before = files.restart(2)
    await store.delete('old')
    await store.merge()
    const after = files.restart(3)
    await store.close()

    clock.nowMs = START_MS

    for (const [machine, isThere] of [
      [before, true],
      [after, false],
    ] as const) {
      const again = await openTimed(machine, clock)
      expect(again.has('gone')).toBe(isThere)
      await again.close()
    }
  })

  it('does not end a later put, however far ahead the clock was for a while', async () => {
    const files = new FaultyFiles(1)
    const clock = new Clock()
    const store = await openTimed(files, clock)
    await store.put('swept', 'x', { ttlMs: 1000 })
    clock.nowMs = Date.UTC(2100, 0, 1)
    await sweep(store)
    clock.nowMs = START_MS
    await store.put('lives', 'x', { ttlMs: 1000 })
    await store.close()
    keepImage(files, 'hints')

    const again = await openTimed(files, clock)
    await sweep(again)

    expect([...again.keys()]).toEqual(['lives'])
    clock.nowMs += 999
    expect(again.has('lives')).toBe(true)
    clock.nowMs += 1
    expect(again.has('lives')).toBe(false)
    await again.close()
  })

  it('is not one that was put during the sweep, after the clock was set back', async () => {
    const clock = new Clock()
    const opened = await openEngineOn(new FaultyFiles(1), { clock: clock.read })
    const { engine } = opened
    const present = engine.present()
    clock.nowMs -= 1000
    putEmpty(opened, 'key', clock.nowMs + 500)

    engine.key.encode('key')
    expect(engine.hasExpired(engine.find(), present)).toBe(false)
    expect(engine.lookup(clock.nowMs)).not.toBe(NO_ENTRY)
    await opened.close({ checkpoint: true })
  })
})

const OPTIONS = {
  valueEncoding: 'utf8',
  lock: false,
  mapping: false,
  reserveBytes: 0,
  maxSegmentBytes: 64 * 1024,
  merge: { automatic: false },
} as const

function on(files: FaultyFiles) {
  return { files, backgroundWork: inProcessWork(files) }
}

describe('opening', () => {
  it.each([
    [0, 0],
    [MINUTE_MS, 0],
    [MINUTE_MS + 1, MINUTE_MS + 1],
    [-MINUTE_MS * 60, 0],
  ])('with a clock that is %d ms back reports %d, once', async (backMs, expected) => {
    const files = new FaultyFiles(1)
    const clock = new Clock()
    const store = await openTimed(files, clock)
    await store.put('key', 'x')
    await store.close()
    const reports: RecoveryReport[] = []

    clock.nowMs -= backMs
    for (let round = 0; round < 2; round++) {
      const again = await openTimed(files, clock)
      again.on('recover', (report) => reports.push(report))
      await setImmediate()
      await again.put('key', 'y')
      await again.close()
    }

    expect(reports.map(({ clockBackMs }) => clockBackMs)).toEqual([expected, 0])
  })
})

/** A put, with its sequence. */
interface Put {
  readonly value: string
  readonly sequence: number
  /** 0 means never. */
  readonly expiresAtMs: number
}

/** A model of the entries that a store should show. */
class Model {
  readonly puts = new Map<string, Put>()
  sweeps: SweepMark[] = []

  shown(nowMs: number, sweeps: readonly SweepMark[] = this.sweeps): [string, string][] {
    const isGone = ({ expiresAtMs, sequence }: Put): boolean =>
      expiresAtMs !== 0 &&
      (expiresAtMs <= nowMs ||
        sweeps.some((each) => expiresAtMs <= each.atMs && sequence < each.nextSequence))
    return [...this.puts]
      .filter(([, put]) => !isGone(put))
      .map(([key, { value }]): [string, string] => [key, value])
      .sort(([a], [b]) => (a < b ? -1 : 1))
  }
}

const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

/** Takes seeded random steps on a store and the model, and compares them after each. */
async function runModel(seed: number): Promise<void> {
  const random = new Random(seed)
  const clock = new Clock()
  const model = new Model()
  const sync = 'always'
  let files = new FaultyFiles(seed)
  let store = await openTimed(files, clock, { keydir: random.pick(KINDS), sync })
  const reopen = async (): Promise<void> => {
    keepImage(files, random.pick(IMAGES))
    store = await openTimed(files, clock, { keydir: random.pick(KINDS), sync })
  }
  const manifestSweeps = (): readonly SweepMark[] => readManifest(files, DISK)?.sweeps ?? []
  const noteSweep = (): void => {
    model.sweeps.push({ atMs: clock.nowMs, nextSequence: store.stats().nextSequence })
  }
  const steps: Record<string, () => Promise<void>> = {
    async put() {
      const key = `key ${random.below(6)}`
      const value = `value ${random.below(1000)}`
      const ttlMs = random.chance(0.8) ? 1 + random.below(40) : 0
      const { nextSequence: sequence } = store.stats()
      model.puts.set(key, { value, sequence, expiresAtMs: ttlMs === 0 ? 0 : clock.nowMs + ttlMs })
      await store.put(key, value, ttlMs === 0 ? {} : { ttlMs })
    },
    async delete() {
      const key = `key ${random.below(6)}`
      const isShown = model.shown(clock.nowMs).some(([each]) => each === key)
      expect(await store.delete(key)).toBe(isShown)
      if (isShown) model.puts.delete(key)
    },
    async clock() {
      clock.nowMs += random.below(81) - 40
    },
    async sweep() {
      noteSweep()
      await sweep(store)
    },
    async merge() {
      noteSweep()
      await store.merge()
    },
    async close() {
      await store.close()
      await reopen()
    },
    async kill() {
      const left = files.restart(random.below(1000))
      // Errors of the killed process are ignored.
      store.on('error', () => undefined)
      files.crash()
      await store.close().catch(() => undefined)
      files = left
      model.sweeps = [...manifestSweeps()]
      await reopen()
    },
    async read() {
      const reader = await openTimed(files, clock, { readOnly: true, keydir: random.pick(KINDS) })
      expect([...reader.entries()]).toEqual(model.shown(clock.nowMs, manifestSweeps()))
      await reader.close()
    },
  }
  // Merges are rare, because they remove what sweeps leave behind.
  const often = ['put', 'put', 'clock', 'clock', 'clock', 'sweep', 'sweep', 'close', 'close']
  const names = [...Object.keys(steps), ...often, ...often]
  for (let step = 0; step < 80; step++) {
    const name = random.pick(names)
    await steps[name]?.()
    const shown = model.shown(clock.nowMs)
    expect([...store.entries()], `step ${step}, ${name}`).toEqual(shown)
    expect(store.count()).toBe(shown.length)
    const values = new Map(shown)
    for (let each = 0; each < 6; each++) {
      expect(store.get(`key ${each}`)).toBe(values.get(`key ${each}`))
    }
  }
  await store.close()
}

describe('a store whose clock goes back and forth', () => {
  const first = Number(process.env.SEED ?? 1)

  it.each(Array.from({ length: 20 }, (_, index) => first + index))(
    'shows the same entries from each image, after a close or a kill (seed %d)',
    async (seed) => {
      await runModel(seed)
    },
  )
})
