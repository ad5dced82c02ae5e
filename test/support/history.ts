/**
 * The history of a store's writes, and the states that it may show after a crash.
 *
 * A *commit* is a single write or a batch. A store that was reopened must show the state after some
 * number of commits: all up to the last one that was promised, and none that failed.
 */

/** A key's new value; no value if the key is removed. */
export interface Change {
  readonly key: string
  readonly value: string | undefined
  /** 0 if it does not expire. */
  readonly expiresAtMs: number
}

/**
 * The fate of a commit: begun; settled, so that it survives a crash; durable; failed, so that it
 * must not be there; or refused by a store that does not know what is on its disk, so that it may
 * be there.
 */
export type Fate = 'begun' | 'settled' | 'durable' | 'failed' | 'refused'

/** Changes that are made together. */
export interface Commit {
  readonly number: number
  readonly changes: readonly Change[]
  fate: Fate
}

/** All commits of a store, in order. */
export class History {
  readonly commits: Commit[] = []
  #nextNumber = 1

  /** Makes a history from its JSON. */
  static from({ commits, nextNumber }: ReturnType<History['toJSON']>): History {
    const history = new History()
    history.commits.push(...commits)
    history.#nextNumber = nextNumber
    return history
  }

  /** The number of the next commit. */
  get nextNumber(): number {
    return this.#nextNumber
  }

  toJSON() {
    return { commits: this.commits, nextNumber: this.#nextNumber }
  }

  /** Returns an independent copy. */
  copy(): History {
    const copy = new History()
    for (const commit of this.commits) copy.commits.push({ ...commit })
    copy.#nextNumber = this.#nextNumber
    return copy
  }

  /** Records a commit that is about to be made. `changes` gets its number, which is unique. */
  begin(changes: (number: number) => readonly Change[]): Commit {
    const number = this.#nextNumber++
    const commit: Commit = { number, changes: changes(number), fate: 'begun' }
    this.commits.push(commit)
    return commit
  }

  /** Makes one commit of all commits so far, which the store is known to hold. */
  compact(): void {
    const changes = new Map<string, Change>()
    for (const commit of this.commits) {
      for (const change of commit.changes) changes.set(change.key, change)
    }
    const fate = this.commits.every((commit) => commit.fate === 'durable') ? 'durable' : 'settled'
    this.commits.splice(0)
    this.begin(() => [...changes.values()].filter(({ value }) => value !== undefined)).fate = fate
  }

  /** All keys that commits have touched. */
  get keys(): Set<string> {
    return new Set(this.commits.flatMap(({ changes }) => changes.map(({ key }) => key)))
  }

  /** A digest of the history. */
  get digest(): string {
    return this.commits.map(({ number, fate }) => `${number}${fate[0]}`).join()
  }

  /** Returns the entries of a store that holds all commits that did not fail. */
  state(nowMs: number): Map<string, string> {
    const entries = new Map<string, Change>()
    for (const { changes, fate } of this.commits) {
      if (fate !== 'failed') for (const change of changes) entries.set(change.key, change)
    }
    const shown = new Map<string, string>()
    for (const [key, change] of entries) {
      const value = valueAt(change, nowMs)
      if (value !== undefined) shown.set(key, value)
    }
    return shown
  }

  /**
   * Finds the highest number of commits after which a store shows `found` and keeps every promise,
   * and forgets the commits after it.
   *
   * @param promise the fate from which on a commit is promised
   * @throws Error that says what is wrong if there is no such number
   */
  settleOn(
    found: ReadonlyMap<string, string>,
    nowMs: number,
    promise: 'settled' | 'durable',
  ): void {
    const real = this.commits.filter(({ fate }) => fate !== 'failed')
    const isPromised = ({ fate }: Commit): boolean =>
      fate === 'durable' || (promise === 'settled' && fate === 'settled')
    const promised = real.findLastIndex(isPromised) + 1
    const wrong = new Set(found.keys())
    let closest: string[] | undefined
    let matched: number | undefined
    for (let count = 0; count <= real.length; count++) {
      if (count > 0) {
        for (const change of real[count - 1]?.changes ?? []) {
          if (valueAt(change, nowMs) === found.get(change.key)) wrong.delete(change.key)
          else wrong.add(change.key)
        }
      }
      if (count < promised) continue
      if (wrong.size === 0) matched = count
      if (closest === undefined || wrong.size < closest.length) closest = [...wrong]
    }
    if (matched === undefined) throw new Error(this.#explain(real, promised, found, closest ?? []))
    this.commits.splice(0, Number.POSITIVE_INFINITY, ...real.slice(0, matched))
    // The commits that came through are on disk, or in the memory of the operating system.
    for (const commit of this.commits) if (commit.fate !== 'durable') commit.fate = promise
  }

  #explain(
    real: readonly Commit[],
    promised: number,
    found: ReadonlyMap<string, string>,
    wrong: readonly string[],
  ): string {
    const lines = wrong.slice(0, 5).map((key) => {
      const told = real.filter(({ changes }) => changes.some((change) => change.key === key))
      const numbers = told.map(({ number, fate }) => `${number} (${fate})`).join(', ')
      return `  ${key}: shows ${brief(found.get(key))}; was written by commits ${numbers}`
    })
    const last = real[promised - 1]?.number ?? 0
    return [
      `The store shows no state of commits ${last} (the last one promised) to ${real.at(-1)?.number ?? 0}.`,
      `At the closest ${wrong.length} keys are wrong:`,
      ...lines,
    ].join('\n')
  }
}

function valueAt({ value, expiresAtMs }: Change, nowMs: number): string | undefined {
  return expiresAtMs !== 0 && expiresAtMs <= nowMs ? undefined : value
}

function brief(value: string | undefined): string {
  return value === undefined ? 'nothing' : `'${value.slice(0, 24)}' (${value.length} bytes)`
}
