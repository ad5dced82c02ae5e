/** Hears the reports of a writer, and keeps the history of its store. */

import { type Commit, History } from '../support/history.ts'
import { digestOf } from './digest.ts'
import { mayExpire } from './load.ts'
import { makeValue, type Report } from './order.ts'

/** The entries that a read-only store beside the writer showed, and the history heard by then. */
interface Look {
  readonly shown: ReadonlyMap<string, string>
  readonly heard: History
}

/** Hears the reports of a writer, and keeps the history that its store must show. */
export class Witness {
  readonly history: History
  /** The faults that the writer has reported. */
  readonly wrongs: string[] = []
  readonly counts = { commits: 0, settled: 0, merges: 0 }
  /** Whether the writer has reported that it has closed the store. */
  closed = false
  readonly #byNumber = new Map<number, Commit>()
  readonly #looks: Look[] = []

  constructor(history: History) {
    this.history = history
  }

  hear(report: Report): void {
    switch (report[0]) {
      case 'opened':
        if (digestOf(this.history.state(report[2])) !== report[1])
          this.wrongs.push('The writer found another state than the one that was there')
        break
      case 'begin':
        this.#begin(report[1], report[2])
        break
      case 'settled':
      case 'void': {
        const commit = this.#byNumber.get(report[1])
        if (commit === undefined) throw new Error(`Commit ${report[1]} was never begun`)
        commit.fate = report[0] === 'settled' ? 'settled' : 'failed'
        if (report[0] === 'settled') this.counts.settled++
        break
      }
      case 'merge':
        if (report[1] === 'end') this.counts.merges++
        break
      case 'closed':
        this.closed = true
        break
      case 'wrong':
        this.wrongs.push(report[1])
    }
  }

  /**
   * Records what a read-only store shows. It is judged by what is heard until the writer ends.
   *
   * @param heard the history before the store was refreshed
   */
  look(entries: Iterable<[string, string]>, heard: History): void {
    const shown = new Map([...entries].filter(([key]) => !mayExpire(key)))
    this.#looks.push({ shown, heard })
  }

  /** Judges all looks. @throws Error if one shows a state that the store was never in */
  judgeLooks(): void {
    for (const { shown, heard } of this.#looks.splice(0)) {
      const all = new History()
      for (const [index, commit] of this.history.commits.entries()) {
        // A commit that began later may show; one that had settled must.
        const fate = heard.commits[index]?.fate ?? (commit.fate === 'failed' ? 'failed' : 'begun')
        const changes = commit.changes.filter(({ key }) => !mayExpire(key))
        all.begin(() => changes).fate = commit.fate === 'failed' ? 'failed' : fate
      }
      all.settleOn(shown, 0, 'settled')
    }
  }

  #begin(number: number, changes: Extract<Report, readonly ['begin', ...unknown[]]>[2]): void {
    const commit = this.history.begin((next) => {
      if (next !== number) throw new Error(`Commit ${number} was begun in the place of ${next}`)
      return changes.map(([key, size, expiresAtMs]) => ({
        key,
        value: size === null ? undefined : makeValue(number, key, size),
        expiresAtMs,
      }))
    })
    this.#byNumber.set(number, commit)
    this.counts.commits++
  }
}
