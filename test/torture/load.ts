/** The load of a writer: what it does between opening and closing. */

import { setImmediate } from 'node:timers/promises'
import { type Snapshot, StoreError } from '../../src/index.ts'
import type { Store } from '../../src/store/store.ts'
import type { Random } from '../support/random.ts'
import { makeValue, type Report, type ReportedChange } from './order.ts'

const KIB = 1024
/** Few keys, so that most writes overwrite; some old values stay, so that segments die slowly. */
const KEY_COUNT = 400
const HOT_COUNT = 40
/** Keys whose values expire, so that the moment decides what they show. */
const EXPIRING_COUNT = 25
const EXPIRING_PREFIX = 'e'
const MAX_TTL_MS = 60
/** The most writes under way. */
const MAX_PENDING = 300

/** Whether the value of a key may expire. */
export function mayExpire(key: string): boolean {
  return key.startsWith(EXPIRING_PREFIX)
}

/** Mixed load on a store. It reports each commit before it begins and after it settles. */
export class Load {
  readonly #store: Store<string, 'utf8'>
  readonly #random: Random
  readonly #report: (report: Report) => void
  readonly #firstNumber: number
  #nextNumber: number
  /** The values that the keys that never expire must show. */
  readonly #expected: Map<string, string>
  readonly #snapshots: { snapshot: Snapshot<string, 'utf8'>; expected: Map<string, string> }[] = []
  #pending: Promise<unknown>[] = []

  constructor(
    store: Store<string, 'utf8'>,
    random: Random,
    firstNumber: number,
    report: (report: Report) => void,
  ) {
    this.#store = store
    this.#random = random
    this.#report = report
    this.#firstNumber = firstNumber
    this.#nextNumber = firstNumber
    this.#expected = new Map([...store.entries()].filter(([key]) => !mayExpire(key)))
  }

  /** Writes and reads until `commitCount` commits were begun. */
  async run(commitCount: number): Promise<void> {
    while (this.#nextNumber < this.#firstNumber + commitCount) {
      for (let count = 1 + this.#random.below(12); count > 0; count--) this.#step()
      const waits = this.#random.chance(0.6) || this.#pending.length > MAX_PENDING
      if (waits) await Promise.all(this.#pending.splice(0))
      else await setImmediate()
    }
  }

  #step(): void {
    const drawn = this.#random.below(1000)
    if (drawn < 420) this.#put()
    else if (drawn < 480) this.#putSync()
    else if (drawn < 640) this.#delete()
    else if (drawn < 660) this.#deleteSync()
    else if (drawn < 760) this.#batch(false)
    else if (drawn < 790) this.#batch(true)
    else if (drawn < 798) this.#clear()
    else if (drawn < 805) this.#later(this.#store.sync())
    else if (drawn < 815) this.#later(this.#merge())
    else if (drawn < 832) this.#takeSnapshot()
    else if (drawn < 850) this.#endSnapshot()
    else if (drawn < 855) this.#compare(this.#store.entries(), this.#expected)
    else this.#read()
  }

  #put(): void {
    const change = this.#draw()
    const number = this.#begin([change])
    const [key, size, expiresAtMs] = change
    const options = expiresAtMs === 0 ? undefined : { expiresAt: expiresAtMs }
    this.#settle(number, this.#store.put(key, makeValue(number, key, size ?? 0), options))
  }

  #putSync(): void {
    const [key, size] = this.#draw()
    const number = this.#begin([[key, size, 0]])
    this.#store.putSync(key, makeValue(number, key, size ?? 0))
    this.#report(['settled', number])
  }

  #delete(): void {
    const key = this.#key()
    const number = this.#begin([[key, null, 0]])
    this.#settle(number, this.#store.delete(key))
  }

  #deleteSync(): void {
    const key = this.#key()
    const number = this.#begin([[key, null, 0]])
    this.#report([this.#store.deleteSync(key) ? 'settled' : 'void', number])
  }

  #batch(now: boolean): void {
    const changes = Array.from({ length: 1 + this.#random.below(12) }, () =>
      this.#random.chance(0.3) ? ([this.#key(), null, 0] as const) : this.#draw(),
    )
    const number = this.#begin(changes)
    const batch = this.#store.batch()
    for (const [key, size, expiresAtMs] of changes) {
      if (size === null) batch.delete(key)
      else if (expiresAtMs === 0) batch.put(key, makeValue(number, key, size))
      else batch.put(key, makeValue(number, key, size), { expiresAt: expiresAtMs })
    }
    if (now) {
      batch.commitSync()
      this.#report(['settled', number])
    } else {
      this.#settle(number, batch.commit())
    }
  }

  #clear(): void {
    const prefix = `k${String(this.#random.below(KEY_COUNT / 10)).padStart(2, '0')}`
    const changes = [...this.#store.keys({ prefix })].map((key) => [key, null, 0] as const)
    const number = this.#begin(changes)
    this.#settle(number, this.#store.clear({ prefix }))
  }

  async #merge(): Promise<void> {
    try {
      await this.#store.merge({ byPolicy: this.#random.chance(0.6) })
    } catch (error) {
      // An automatic merge was first.
      if (!(error instanceof StoreError && error.code === 'FIRKIN_MERGE_RUNNING')) throw error
    }
  }

  #takeSnapshot(): void {
    if (this.#snapshots.length === 3) return
    const snapshot = this.#store.snapshot()
    this.#snapshots.push({ snapshot, expected: new Map(this.#expected) })
  }

  #endSnapshot(): void {
    const [oldest] = this.#snapshots.splice(0, 1)
    if (oldest === undefined) return
    this.#compare(oldest.snapshot.entries(), oldest.expected)
    oldest.snapshot.close()
  }

  #compare(entries: Iterable<[string, string]>, expected: ReadonlyMap<string, string>): void {
    const shown = new Map([...entries].filter(([key]) => !mayExpire(key)))
    for (const key of new Set([...shown.keys(), ...expected.keys()])) {
      if (shown.get(key) !== expected.get(key))
        this.#report(['wrong', `${key} is wrong in a range`])
    }
  }

  #read(): void {
    const key = this.#key()
    if (mayExpire(key) || this.#store.get(key) === this.#expected.get(key)) return
    this.#report(['wrong', `${key} is wrong when it is read`])
  }

  #key(): string {
    if (this.#random.chance(0.1)) return `${EXPIRING_PREFIX}${this.#random.below(EXPIRING_COUNT)}`
    const index = this.#random.below(this.#random.chance(0.6) ? HOT_COUNT : KEY_COUNT)
    return `k${String(index).padStart(3, '0')}`
  }

  #draw(): ReportedChange {
    const key = this.#key()
    const ttlMs = mayExpire(key) ? 1 + this.#random.below(MAX_TTL_MS) : 0
    return [key, this.#size(), ttlMs === 0 ? 0 : Date.now() + ttlMs]
  }

  /**
   * Draws a size: mostly small, some larger than a segment or the stage, a few written in steps.
   */
  #size(): number {
    const drawn = this.#random.below(1000)
    if (drawn < 700) return this.#random.below(300)
    if (drawn < 960) return this.#random.below(6 * KIB)
    if (drawn < 996) return this.#random.below(30 * KIB)
    return this.#random.below((drawn < 998 ? 300 : 3000) * KIB)
  }

  #begin(changes: readonly ReportedChange[]): number {
    const number = this.#nextNumber++
    this.#report(['begin', number, changes])
    for (const [key, size] of changes) {
      if (mayExpire(key)) continue
      if (size === null) this.#expected.delete(key)
      else this.#expected.set(key, makeValue(number, key, size))
    }
    return number
  }

  #settle(number: number, written: Promise<unknown>): void {
    this.#later(
      written.then((answer) => {
        // A call that has removed nothing was not a commit.
        this.#report([answer === false || answer === 0 ? 'void' : 'settled', number])
      }),
    )
  }

  #later(work: Promise<unknown>): void {
    this.#pending.push(
      work.catch((error: unknown) => {
        // Closing the store ends the work under way.
        if (this.#store.closed) return
        this.#report(['wrong', error instanceof Error ? String(error.stack) : String(error)])
      }),
    )
  }
}
