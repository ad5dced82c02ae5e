/**
 * Torture: kills processes that write to one store, one after the other, and checks the store after
 * each.
 *
 * 1. Plan. The writes, the moment of the kill and the next steps follow from the seed of the round.
 * 2. Kill. A writer reports each commit before it begins and after it settles, until SIGKILL ends
 *    it.
 * 3. Kill again. Some rounds open the store in more processes, which are killed while they open it.
 * 4. Check. The store shows a state between the last settled commit and the last begun one. The
 *    next round goes on from there, in most cases from the files that a kill has left.
 *
 * If a promise is broken, the store stays as the kill has left it, with the history and the plan.
 */

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type KeydirKind, open, type RecoveryReport } from '../../src/index.ts'
import { History } from '../support/history.ts'
import { check } from './check.ts'
import { Child } from './child.ts'
import type { Order, Report } from './order.ts'
import { type KillPlan, planRound, type RoundPlan } from './plan.ts'
import { Witness } from './witness.ts'

/** The options of a torture. */
export interface TortureOptions {
  /** An empty directory, or one that is not there yet. */
  readonly directory: string
  readonly seed: number
  /** The built `writer.js`. */
  readonly writer: string
  /** The choices from which each writer draws whether it maps files. */
  readonly mappings: readonly boolean[]
}

/** The figures of a torture. */
export class Tally {
  rounds = 0
  /** The commits that were begun, and below those that had settled. */
  commits = 0
  settled = 0
  merges = 0
  /** Looks of a read-only store beside the writer. */
  looks = 0
  /** Tails that were cut. */
  torn = 0
  /** Writers that had finished before their kill came. */
  survived = 0
  readonly kills: Partial<Record<KillPlan['at'], number>> = {}
  /** The sources of the keydirs of the stores that were checked. */
  readonly openedFrom: Partial<Record<RecoveryReport['source'], number>> = {}
  readonly keydirs: Partial<Record<KeydirKind, number>> = {}
}

/** A broken promise. */
export class TortureError extends Error {
  /** The directory in which the store was kept. */
  readonly kept: string

  constructor(plan: RoundPlan, kept: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(`Round ${plan.seed}: ${reason}\nThe store was kept in ${kept}`, { cause })
    this.kept = kept
  }
}

/** The story of a store that was kept, written next to it. */
export interface Kept {
  readonly plan: RoundPlan
  /** The moment at which it was checked. */
  readonly nowMs: number
  readonly history: ReturnType<History['toJSON']>
}

/** The number of commits after which a writer closes if its kill does not come. */
const MOST_COMMITS = 2000

/** The torture of one store. */
export class Torture {
  readonly tally = new Tally()
  readonly #options: TortureOptions
  readonly #store: string
  /** The store as the last kill has left it. */
  readonly #before: string
  #history = new History()
  #nowMs = 0
  #next: { plan: RoundPlan; child: Child } | undefined

  constructor(options: TortureOptions) {
    this.#options = options
    this.#store = join(options.directory, 'store')
    this.#before = join(options.directory, 'before')
    mkdirSync(options.directory, { recursive: true })
  }

  /** Kills a writer, and checks what it leaves. @throws {@link TortureError} */
  async round(): Promise<void> {
    const { plan, child } = this.#next ?? this.#start(this.#options.seed)
    // The next writer starts up while this one works.
    this.#next = this.#start(plan.seed + 1)
    try {
      let closed = await this.#kill(plan, child, plan.kill, true)
      for (const { keydir, kill } of plan.killedOpens) {
        // Only a look at the store shows what the next process must find.
        await this.#check(
          { ...plan, checkedWith: keydir, removed: 'nothing', reopens: false },
          closed,
        )
        const opener = new Child(this.#options.writer, plan.mapping)
        closed = await this.#kill({ ...plan, keydir }, opener, kill, false)
      }
      await this.#check(plan, closed)
    } catch (error) {
      throw new TortureError(plan, this.#keep(plan), error)
    }
    count(this.tally.keydirs, plan.keydir)
    this.tally.rounds++
    this.#history.compact()
  }

  /** Ends the process that waits for its round. */
  async end(): Promise<void> {
    this.#next?.child.kill()
    await this.#next?.child.ended
    this.#next = undefined
  }

  #start(seed: number): { plan: RoundPlan; child: Child } {
    const plan = planRound(seed, this.#options.mappings)
    return { plan, child: new Child(this.#options.writer, plan.mapping) }
  }

  /**
   * Runs a process that opens the store, and writes if it `writes`, up to its end. Returns whether
   * it had closed the store.
   */
  async #kill(plan: RoundPlan, child: Child, kill: KillPlan, writes: boolean): Promise<boolean> {
    const witness = new Witness(this.#history)
    const timer = new KillTimer(kill, () => child.kill())
    let hasOpened: () => void = () => {}
    const opened = new Promise<void>((resolve) => {
      hasOpened = resolve
    })
    child.begin(this.#order(plan, kill, writes), (report) => {
      witness.hear(report)
      timer.hear(report)
      if (report[0] === 'opened') hasOpened()
    })
    const looking =
      writes && plan.looks > 0 ? opened.then(() => this.#look(plan, witness, child)) : undefined
    const { code, signal, complaint, timedOut } = await child.ended
    timer.stop()
    hasOpened()
    await looking
    if (timedOut) throw new Error('A writer hung')
    if (complaint !== '' || (code !== 0 && signal !== 'SIGKILL')) {
      throw new Error(`A writer ended by ${signal ?? code}: ${complaint}`)
    }
    if (witness.wrongs[0] !== undefined) throw new Error(witness.wrongs[0])
    witness.judgeLooks()
    const { tally } = this
    tally.commits += witness.counts.commits
    tally.settled += witness.counts.settled
    tally.merges += witness.counts.merges
    if (signal === null) tally.survived++
    else count(tally.kills, kill.at)
    rmSync(this.#before, { recursive: true, force: true })
    if (existsSync(this.#store)) cpSync(this.#store, this.#before, { recursive: true })
    return witness.closed
  }

  #order(plan: RoundPlan, kill: KillPlan, writes: boolean): Order {
    const { seed, keydir, sync, maxSegmentBytes, merge } = plan
    return {
      directory: this.#store,
      seed,
      keydir,
      sync,
      maxSegmentBytes,
      merge,
      writes,
      closeAfter: kill.at === 'closing' ? kill.commits : MOST_COMMITS,
      firstNumber: this.#history.nextNumber,
      selfKill: kill.at === 'call' ? kill : undefined,
    }
  }

  /** Compares a read-only store beside the writer, repeatedly until the writer ends. */
  async #look(plan: RoundPlan, witness: Witness, child: Child): Promise<void> {
    if (child.hasEnded) return
    const options = { readOnly: true, keydir: plan.checkedWith, valueEncoding: 'utf8' } as const
    await using reader = await open(this.#store, options)
    for (let look = 0; look < plan.looks && !child.hasEnded; look++) {
      const heard = this.#history.copy()
      await reader.refresh()
      witness.look(reader.entries(), heard)
      this.tally.looks++
      const { merges, commits } = witness.counts
      // Whole merges, or some writes, happen between two looks.
      const goesOn =
        look % 2 === 0
          ? () => witness.counts.merges > merges
          : () => witness.counts.commits > commits + 10
      while (!child.hasEnded && !goesOn()) await setImmediate()
    }
  }

  async #check(plan: RoundPlan, closed: boolean): Promise<void> {
    this.#nowMs = Date.now()
    if (!existsSync(join(this.#store, 'MANIFEST'))) {
      // The writer was killed before it had created the store.
      this.#history.settleOn(new Map(), this.#nowMs, 'settled')
      return
    }
    const recovery = await check(this.#store, this.#history, { ...plan, nowMs: this.#nowMs })
    if (closed && !recovery.closed) throw new Error('What was closed was not found closed')
    count(this.tally.openedFrom, recovery.source)
    this.tally.torn += recovery.torn.length
  }

  /** Keeps everything that a replay needs. */
  #keep(plan: RoundPlan): string {
    const kept = join(this.#options.directory, `failed-${plan.seed}`)
    const story: Kept = { plan, nowMs: this.#nowMs, history: this.#history.toJSON() }
    for (const name of ['store', 'before'] as const) {
      const from = join(this.#options.directory, name)
      if (existsSync(from)) cpSync(from, join(kept, name), { recursive: true })
    }
    mkdirSync(kept, { recursive: true })
    writeFileSync(join(kept, 'story.json'), JSON.stringify(story))
    return kept
  }
}

/** Checks again a store that a torture has kept. @throws Error that says which promise is broken */
export async function checkAgain(kept: string): Promise<void> {
  const { plan, nowMs, history }: Kept = JSON.parse(readFileSync(join(kept, 'story.json'), 'utf8'))
  const store = join(kept, 'again')
  rmSync(store, { recursive: true, force: true })
  cpSync(join(kept, 'before'), store, { recursive: true })
  await check(store, History.from(history), { ...plan, nowMs })
}

/** Kills at the planned moment. */
class KillTimer {
  readonly #plan: KillPlan
  readonly #kill: () => void
  #timer: NodeJS.Timeout | undefined
  #mergeReports = 0
  #commits = 0

  constructor(plan: KillPlan, kill: () => void) {
    this.#plan = plan
    this.#kill = kill
    if (plan.at === 'opening') this.#start(plan.ms)
  }

  hear([what]: Report): void {
    const plan = this.#plan
    if (what === 'begin' && plan.at === 'writing' && ++this.#commits === plan.commits)
      this.#start(0)
    if (what === 'merge' && plan.at === 'merging' && ++this.#mergeReports === plan.nth) {
      this.#start(plan.ms)
    }
    if (what === 'closing' && plan.at === 'closing') this.#start(plan.ms)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #start(ms: number): void {
    if (ms === 0) this.#kill()
    else this.#timer = setTimeout(this.#kill, ms)
  }
}

function count<K extends string>(counts: Partial<Record<K, number>>, name: K): void {
  counts[name] = (counts[name] ?? 0) + 1
}
