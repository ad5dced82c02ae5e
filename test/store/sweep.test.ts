import { describe, expect, it } from 'vitest'
import type { Engine } from '../../src/engine/engine.ts'
import { Sweep } from '../../src/engine/sweeper.ts'
import type { EventLoop } from '../../src/scheduling/event-loop.ts'
import { Store } from '../../src/store/store.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { DISK } from '../support/store.ts'

/** What a look at the clock, with the walk before it, takes in milliseconds; and forgetting a key. */
const WALK_MS = 0.006
const FORGET_MS = 0.001
const INTERVAL_MS = 1000

/** Time that passes where work is done, and where it is told to. */
class Time implements EventLoop {
  now = 0
  /** Of it, what the sweep took. */
  swept = 0

  nowMs(): number {
    this.#take(WALK_MS)
    return this.now
  }

  forget(): void {
    this.#take(FORGET_MS)
  }

  afterTurn(): never {
    throw new Error('Nothing waits for a turn')
  }

  after(): never {
    throw new Error('Nothing waits')
  }

  #take(ms: number): void {
    this.now += ms
    this.swept += ms
  }
}

/** A store that is swept by a clock of the test's own, with a number of keys that stay. */
async function openSwept(staying: number) {
  const time = new Time()
  const files = new FaultyFiles(1)
  let engine: Engine | undefined
  const store = await Store.open<string>(
    DISK,
    {
      valueEncoding: 'utf8',
      sync: 'never',
      lock: false,
      mapping: false,
      checkpoint: false,
      reserveBytes: 0,
      clock: () => 1e6 + time.now,
    },
    {
      files,
      backgroundWork: inProcessWork(files),
      adopt: (adopted) => {
        engine = adopted
        return { stalled() {} }
      },
    },
  )
  for (let index = 0; index < staying; index++) void store.put(`stays ${index}`, '')
  const sweep = new Sweep(engine as Engine, time, INTERVAL_MS, (entry, present) => {
    time.forget()
    engine?.forget(entry, present)
  })
  let dueAt = INTERVAL_MS
  let count = 0

  /** Puts so many keys a millisecond for so long; answers the most that were held, and the share that the sweep took. */
  const churn = (keysPerMs: number, ttlMs: number, forMs: number, settledAfterMs: number) => {
    const beganAt = time.now
    const before = time.swept
    let most = 0
    for (let left = 0; time.now < beganAt + forMs; ) {
      const last = time.now
      if (time.now >= dueAt) dueAt = sweep.slice((engine as Engine).present()) + time.now
      time.now = Math.max(time.now, Math.min(dueAt, last + 1))
      for (left += keysPerMs * (time.now - last); left >= 1; left--) {
        void store.put(`key ${count++}`, '', { ttlMs })
      }
      if (time.now > beganAt + settledAfterMs) most = Math.max(most, (engine as Engine).keydir.size)
    }
    return { most, share: (time.swept - before) / (time.now - beganAt) }
  }
  return { store, churn }
}

describe('the sweep under steady churn', () => {
  it.each<[number, number, number]>([
    [40, 200, 0],
    [40, 200, 20_000],
    [40, 20, 20_000],
    [10, 1000, 0],
    [5, 1000, 20_000],
  ])(
    'keeps up with %i keys a millisecond that live for %i, beside %i that stay',
    async (rate, ttlMs, staying) => {
      const { store, churn } = await openSwept(staying)
      const live = rate * ttlMs + staying

      const { most, share } = churn(rate, ttlMs, 4000, 2500)

      expect(most).toBeLessThan(live * 1.3 + 1000)
      expect(share).toBeLessThan(1 / 3)
      await store.close()
    },
  )

  it('takes next to nothing where little expires', async () => {
    const { store, churn } = await openSwept(100_000)

    const { most, share } = churn(0.01, 1000, 60_000, 0)

    expect(most).toBeLessThan(101_000)
    expect(share).toBeLessThan(0.005)
    await store.close()
  })

  it('comes down again when it is over, and rests then', async () => {
    const { store, churn } = await openSwept(1000)
    churn(20, 2000, 3000, 0)

    churn(0, 1, 8000, 0)
    const { share } = churn(0, 1, 5000, 0)

    expect(store.stats().keys).toBe(1000)
    expect(share).toBeLessThan(0.001)
    await store.close()
  })
})
