import type { Chores } from './chores.ts'
import type { Engine } from './engine.ts'
import type { Entry } from './keydir/keydir.ts'
import { monotonicMs } from './time.ts'

/** How long one round may hold the main thread, in milliseconds. */
const ROUND_MS = 4
/** How many entries are walked between two looks at the clock. */
const WALK_ENTRIES = 1024

/**
 * Forgets expired keys without anyone reading them: every round walks on through the keydir for a few
 * milliseconds, and begins anew at its end. Their records are dead then, and a merge gives the space back.
 */
export class Sweeper {
  /** How many keys were forgotten. */
  expiredCount = 0
  readonly #engine: Engine
  #place = 0

  constructor(engine: Engine, chores: Chores, intervalMs: number) {
    this.#engine = engine
    chores.every(intervalMs, () => this.#round())
  }

  #round(): void {
    const engine = this.#engine
    const endsAt = monotonicMs() + ROUND_MS
    const nowMs = engine.options.clock()
    while (engine.keydir.entries.expiringCount > 0 && monotonicMs() < endsAt) {
      const next = engine.walk(this.#place, WALK_ENTRIES, (entry) => this.#look(entry, nowMs))
      this.#place = Math.max(next, 0)
      if (next === -1) return
    }
  }

  #look(entry: Entry, nowMs: number): void {
    const expiresAtMs = this.#engine.keydir.entries.expiresAtOf(entry)
    if (expiresAtMs === 0 || expiresAtMs > nowMs) return
    this.#engine.expire(entry)
    this.expiredCount++
  }
}
