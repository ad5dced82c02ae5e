import { setImmediate } from 'node:timers/promises'
import { StoreError } from '../../src/errors.ts'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import type { StoreSettings } from '../../src/options.ts'
import { Store } from '../../src/store/store.ts'
import type { FaultyFiles } from '../support/faulty-files.ts'
import { type Change, type Commit, History } from '../support/history.ts'
import { inProcessWork } from '../support/in-process-work.ts'

/** The store's directory on the faulty files. */
export const DIRECTORY = '/disk/store'

/** The number of turns of the event loop without a call after which nothing is going on. */
const QUIET_TURNS = 8

/** A put or delete of a batch. */
export type BatchChange = readonly [key: string, size: number | undefined, ttlMs?: number]

export type TrialStore = Store<string, 'utf8'>
export type TrialOptions = StoreSettings<string, 'utf8'>

/** A backup, and what it must hold once it is finished: all that was settled before it began. */
export interface BackedUp {
  readonly directory: string
  readonly history: History
  readonly isDone: boolean
}

/** A store on faulty files, with a history of the writes that it was given. */
export class Trial {
  readonly files: FaultyFiles
  readonly directory: string
  readonly history: History
  readonly options: TrialOptions
  /** The errors that the store reported by events. */
  readonly errors: Error[] = []
  /** The errors of operations, if the trial is tolerant. */
  readonly failures: StoreError[] = []
  nowMs: number
  /** Whether the store has reported a failed sync since it was opened. */
  poisoned = false
  /** The backup that was begun last. */
  backedUp: BackedUp | undefined
  /** Whether failures are noted instead of thrown. */
  tolerant = false
  backgroundWork: BackgroundWork
  #store: TrialStore | undefined
  #isReopening = false

  constructor(
    files: FaultyFiles,
    options: TrialOptions,
    history = new History(),
    nowMs = 1_000_000_000_000,
    directory = DIRECTORY,
  ) {
    this.files = files
    this.directory = directory
    this.options = options
    this.history = history
    this.nowMs = nowMs
    this.backgroundWork = inProcessWork(files)
  }

  get store(): TrialStore {
    if (this.#store === undefined) throw new Error('The store is not open')
    return this.#store
  }

  get isOpen(): boolean {
    return this.#store !== undefined
  }

  async open(options: TrialOptions = {}): Promise<TrialStore> {
    const store = await Store.open<string, 'utf8'>(
      this.directory,
      {
        valueEncoding: 'utf8',
        maxSegmentBytes: 64 * 1024,
        lock: false,
        mapping: false,
        reserveBytes: 0,
        clock: () => this.nowMs,
        // While timers stand still, a writer that is slowed would wait for ever.
        merge: { maxSpaceAmplification: Number.POSITIVE_INFINITY },
        ...this.options,
        ...options,
      },
      { files: this.files, backgroundWork: this.backgroundWork },
    )
    store.on('error', (error) => {
      this.errors.push(error)
      if (isPoisoned(error) && this.#store === store) this.poisoned = true
    })
    this.poisoned = false
    this.#store = store
    if (this.#isReopening) await this.#attempt(() => this.#forgetRefused())
    this.#isReopening = true
    return store
  }

  /** Closes the store, after which everything is promised. */
  async close(): Promise<void> {
    const { store } = this
    this.#store = undefined
    const durable = this.#promiseLater()
    await this.#attempt(async () => {
      await store.close()
      durable()
    })
    await this.#assertQuiet()
  }

  /** Stops the timers of a store that is no longer needed. */
  async abandon(): Promise<void> {
    const store = this.#store
    this.#store = undefined
    await store?.close().catch(() => undefined)
    await this.#assertQuiet()
  }

  put(key: string, size: number, ttlMs?: number): Promise<void> {
    const commit = this.#begin([ttlMs === undefined ? [key, size] : [key, size, ttlMs]])
    return this.#settle(commit, () => this.#put(commit))
  }

  putSync(key: string, size: number): Promise<void> {
    const commit = this.#begin([[key, size]])
    return this.#settle(commit, () => this.store.putSync(key, commit.changes[0]?.value ?? ''))
  }

  delete(key: string): Promise<void> {
    const commit = this.#begin([[key, undefined]])
    return this.#settle(commit, () => this.store.delete(key))
  }

  deleteSync(key: string): Promise<void> {
    const commit = this.#begin([[key, undefined]])
    return this.#settle(commit, () => this.store.deleteSync(key))
  }

  batch(changes: readonly BatchChange[]): Promise<void> {
    const commit = this.#begin(changes)
    return this.#settle(commit, () => this.#fill(commit).commit())
  }

  batchSync(changes: readonly BatchChange[]): Promise<void> {
    const commit = this.#begin(changes)
    return this.#settle(commit, () => this.#fill(commit).commitSync())
  }

  /** Clears the keys with a prefix. */
  async clear(prefix: string): Promise<void> {
    await this.#attempt(async () => {
      const keys = [...this.store.keys({ prefix })]
      const commit = this.#begin(keys.map((key) => [key, undefined]))
      await this.#settle(commit, () => this.store.clear({ prefix }))
      // A clear consists of batches, the first of which may have been made.
      if (commit.fate === 'failed') await this.#noteGone(keys)
      else if (commit.fate === 'refused') this.#noteCutShort(commit, keys)
    })
  }

  /** Notes the keys that are no longer there. */
  async #noteGone(keys: readonly string[]): Promise<void> {
    const gone = keys.filter((key) => !this.store.has(key))
    if (gone.length === 0) return
    const commit = this.#begin(gone.map((key) => [key, undefined]))
    await this.#settle(commit, () => undefined)
  }

  /**
   * Notes single deletes for a clear that was cut short: any number of the first ones may survive.
   */
  #noteCutShort(commit: Commit, keys: readonly string[]): void {
    commit.fate = 'failed'
    for (const key of keys) {
      if (!this.store.has(key)) this.#begin([[key, undefined]]).fate = 'refused'
    }
  }

  /** Makes everything durable, after which everything is promised. */
  async sync(): Promise<void> {
    const durable = this.#promiseLater()
    await this.#attempt(async () => {
      await this.store.sync()
      durable()
    })
  }

  /** Merges every segment that has anything to give back. */
  async merge(): Promise<void> {
    await this.#attempt(() => this.store.merge())
  }

  async backup(directory: string): Promise<void> {
    const history = this.history.copy()
    this.backedUp = { directory, history, isDone: false }
    await this.#attempt(async () => {
      await this.store.backup(directory)
      const fates = new Map(this.history.commits.map(({ number, fate }) => [number, fate]))
      for (const commit of history.commits) {
        const fate = fates.get(commit.number)
        commit.fate = fate === 'failed' || fate === 'refused' ? fate : 'durable'
      }
      this.backedUp = { directory, history, isDone: true }
    })
  }

  /** Reads a key, whatever its value. */
  async get(key: string): Promise<void> {
    await this.#attempt(() => this.store.get(key))
  }

  /** Does work under a snapshot, which must show the same values of these keys afterwards. */
  async underSnapshot(keys: readonly string[], work: () => Promise<void>): Promise<void> {
    using snapshot = this.store.snapshot()
    let before: unknown[] | undefined
    await this.#attempt(() => {
      before = snapshot.getMany(keys)
    })
    await work()
    await this.#attempt(() => {
      const after = snapshot.getMany(keys)
      if (before?.some((value, index) => value !== after[index]))
        throw new Error(`A snapshot shows another value of one of ${keys.join()}`)
    })
  }

  /** Resolves once nothing goes on in the background. */
  async idle(): Promise<void> {
    for (let quiet = 0, calls = 0; quiet < QUIET_TURNS; quiet++) {
      await setImmediate()
      const busy = this.#store?.closed === false && this.#store.stats().merge.running
      if (this.files.calls.length > calls || busy) quiet = 0
      calls = this.files.calls.length
    }
  }

  /** Fails if a closed store still makes calls: another process may hold the directory by now. */
  async #assertQuiet(): Promise<void> {
    const { calls } = this.files
    const { length } = calls
    await this.idle()
    const call = calls[length]
    if (call !== undefined) throw new Error(`A closed store asks for ${call.kind} ${call.path}`)
  }

  /**
   * Forgets refused writes of a poisoned store that are not there, before others follow them. Those
   * that are there are still not promised.
   */
  #forgetRefused(): void {
    const { history } = this
    const fates = new Map(history.commits.map(({ number, fate }) => [number, fate]))
    if (![...fates.values()].includes('refused')) return
    history.settleOn(new Map(this.store.entries()), this.nowMs, 'settled')
    for (const commit of history.commits) commit.fate = fates.get(commit.number) ?? commit.fate
  }

  #put(commit: Commit): Promise<void> {
    const [{ key, value, expiresAtMs } = EMPTY] = commit.changes
    const options = expiresAtMs === 0 ? undefined : { expiresAt: expiresAtMs }
    return this.store.put(key, value ?? '', options)
  }

  #fill(commit: Commit) {
    const batch = this.store.batch()
    for (const { key, value, expiresAtMs } of commit.changes) {
      if (value === undefined) batch.delete(key)
      else if (expiresAtMs === 0) batch.put(key, value)
      else batch.put(key, value, { expiresAt: expiresAtMs })
    }
    return batch
  }

  #begin(changes: readonly BatchChange[]): Commit {
    return this.history.begin((number) =>
      changes.map(
        ([key, size, ttlMs]): Change => ({
          key,
          value: size === undefined ? undefined : makeValue(number, key, size),
          expiresAtMs: ttlMs === undefined ? 0 : this.nowMs + ttlMs,
        }),
      ),
    )
  }

  async #settle(commit: Commit, write: () => unknown): Promise<void> {
    const { poisoned } = this
    await this.#attempt(async () => {
      try {
        const answer = await write()
        // A delete that removed nothing was not a commit, and waited for nothing.
        if (answer === false || answer === 0) commit.fate = 'failed'
        else commit.fate = this.options.sync === 'always' ? 'durable' : 'settled'
        this.#promiseByCount()
      } catch (error) {
        // A store that was poisoned before has written nothing.
        commit.fate = isPoisoned(error) && !poisoned ? 'refused' : 'failed'
        throw error
      }
    })
  }

  /** Does work that may fail, and notes the failure if the trial is tolerant. */
  async #attempt(work: () => unknown): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!this.tolerant || !(error instanceof StoreError)) throw error
      this.failures.push(error)
      if (isPoisoned(error)) this.poisoned = true
    }
  }

  /** With `everyWrites`, all settled writes except the most recent ones are promised. */
  #promiseByCount(): void {
    const { sync } = this.options
    if (typeof sync !== 'object' || sync.everyWrites === undefined) return
    let left = 2 * sync.everyWrites - 2
    for (const commit of this.history.commits.toReversed()) {
      if (commit.fate !== 'settled') continue
      left -= commit.changes.length
      if (left < 0) commit.fate = 'durable'
    }
  }

  /** Returns a function that marks all commits so far as durable, except those that failed. */
  #promiseLater(): () => void {
    const { commits } = this.history
    const count = commits.length
    return () => {
      for (const commit of commits.slice(0, count)) {
        if (commit.fate !== 'failed' && commit.fate !== 'refused') commit.fate = 'durable'
      }
    }
  }
}

/** Whether a store has refused a write because a sync had failed. */
export function isPoisoned(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'FIRKIN_POISONED'
}

const EMPTY: Change = { key: '', value: undefined, expiresAtMs: 0 }

/** Returns a value that says which commit it is from. */
function makeValue(number: number, key: string, size: number): string {
  return `${number}:${key}:`.padEnd(size, 'firkin-')
}
