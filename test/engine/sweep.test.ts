import { describe, expect, it } from 'vitest'
import { Sweep } from '../../src/engine/sweeper.ts'
import type { EventLoop } from '../../src/scheduling/event-loop.ts'
import { openEngineOn, putEmpty } from '../support/engine.ts'
import { FaultyFiles } from '../support/faulty-files.ts'

/** How long a walk and the look at the clock after it take, in milliseconds. */
const WALK_MS = 0.006
const FORGET_MS = 0.001
const INTERVAL_MS = 1000

/** Time that passes only with work, and when it is told to. */
class Time implements EventLoop {
  now = 0
  /** The part of it that the sweep took. */
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

/** Opens an engine that is swept by a clock of the test's own, and puts `staying` keys. */
async function openSwept(staying: number) {
  const time = new Time()
  const files = new FaultyFiles(1)
  const nowMs = (): number => 1e6 + time.now
  const opened = await openEngineOn(files, { sync: 'never', clock: nowMs })
  const { engine } = opened
  for (let index = 0; index < staying; index++) putEmpty(opened, `stays ${index}`)
  const sweep = new Sweep(engine, time, INTERVAL_MS, (entry, present) => {
    time.forget()
    engine.forget(entry, present)
  })
  let dueAt = INTERVAL_MS
  let count = 0

  /** Puts keys at a rate. Returns the most that were held, and the sweep's share of the time. */
  const churn = (keysPerMs: number, ttlMs: number, forMs: number, settledAfterMs: number) => {
    const beganAt = time.now
    const before = time.swept
    let most = 0
    for (let left = 0; time.now < beganAt + forMs; ) {
      const last = time.now
      if (time.now >= dueAt) dueAt = sweep.slice(engine.present()) + time.now
      time.now = Math.max(time.now, Math.min(dueAt, last + 1))
      for (left += keysPerMs * (time.now - last); left >= 1; left--) {
        putEmpty(opened, `key ${count++}`, nowMs() + ttlMs)
      }
      if (time.now > beganAt + settledAfterMs) most = Math.max(most, engine.keydir.size)
    }
    return { most, share: (time.swept - before) / (time.now - beganAt) }
  }
  const close = (): Promise<void> => opened.close({ checkpoint: false })
  return { engine, churn, close }
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
      const { churn, close } = await openSwept(staying)
      const live = rate * ttlMs + staying

      const { most, share } = churn(rate, ttlMs, 4000, 2500)

      expect(most).toBeLessThan(live * 1.3 + 1000)
      expect(share).toBeLessThan(1 / 3)
      await close()
    },
  )

  it('takes next to nothing where little expires', async () => {
    const { churn, close } = await openSwept(100_000)

    const { most, share } = churn(0.01, 1000, 60_000, 0)

    expect(most).toBeLessThan(101_000)
    expect(share).toBeLessThan(0.005)
    await close()
  })

  it('comes down again when it is over, and rests then', async () => {
    const { engine, churn, close } = await openSwept(1000)
    churn(20, 2000, 3000, 0)

    churn(0, 1, 8000, 0)
    const { share } = churn(0, 1, 5000, 0)

    expect(engine.keydir.size).toBe(1000)
    expect(share).toBeLessThan(0.001)
    await close()
  })
})
