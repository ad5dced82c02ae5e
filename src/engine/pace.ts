/**
 * Decides when the promise of a group that is as durable as was promised settles: at once, or after
 * a turn of the event loop.
 *
 * A caller that awaits a settled promise goes on before the event loop turns. A loop that awaits
 * each write, and gets each promise settled at once, would therefore hold up every timer and all
 * I/O of the process for as long as it runs. So a group that settles when the loop has not turned
 * for {@link LONGEST_TURN_MS} is *held* until it has.
 *
 * The exception is the first *run* of a turn, which is the writes that a caller begins without
 * awaiting any of them. Its groups are not held while it lasts: thousands of callers that wait for
 * one held promise keep memory busy (bench `put`, windows of 100,000).
 *
 * If merging is behind (merge/pressure.ts), groups are held longer, in proportion to their bytes.
 * Time that passes anyway counts, and delays too short for a timer are accumulated: it is the rate
 * that is slowed.
 *
 * A loop of `…Sync` calls cannot be made to wait like that, nor can one that waits for nothing. The
 * event loop is *stalled* then, and what is due has to be done in these calls (chores.ts,
 * durability.ts, merge.ts). `…Sync` calls pay in the same way if groups are held for merging,
 * whether the loop is stalled or not.
 *
 * Invariants
 * - Groups settle in the order in which they are released.
 * - The clock is read only once in a number of groups and bytes: reading it costs about a twentieth
 *   of a write.
 */

import type { EventLoop, PendingTurn } from '../scheduling/event-loop.ts'
import { Group } from './group.ts'

/**
 * The longest that writes awaited one by one may keep the event loop from turning, in milliseconds.
 */
const LONGEST_TURN_MS = 3
/** If the event loop has not turned for this long, do not wait for it, in milliseconds. */
export const STALL_MS = 20
/** If it has not turned for this long, nothing in the background progresses, in milliseconds. */
export const HOPELESS_MS = 100
/** The most bytes, and the most groups, between two looks at the clock. */
const BYTES_PER_LOOK = 64 * 1024
const GROUPS_PER_LOOK = 16
const GROUP_COST = BYTES_PER_LOOK / GROUPS_PER_LOOK
/** A delay shorter than this is accumulated until it is worth a timer, in milliseconds. */
const LEAST_DELAY_MS = 2
const MIB = 2 ** 20
/** If two looks at the clock are this far apart, each group is worth a look, in milliseconds. */
const SELDOM_MS = 1

interface Held {
  readonly group: Group
  /** The earliest time at which the group may settle. */
  readonly dueAtMs: number
}

/** Settles groups in such a way that the event loop turns. */
export class Pace {
  readonly #loop: EventLoop
  /** The bytes that may be written before the next look at the clock. */
  #credit = 0
  #lookedAtMs = Number.NEGATIVE_INFINITY
  /** Fires when the loop turns; undefined from then until the next look at the clock. */
  #turn: PendingTurn | undefined
  /** The time at which `#turn` was requested. */
  #turnBeganAtMs = 0
  #isStalled = false
  /** Whether a caller has returned to the event loop since that turned, as far as is known. */
  #hasRunEnded = true
  /**
   * The time of the last stall that was taken. Each one writes what is staged, and groups are to be
   * large.
   */
  #stalledAtMs = Number.NEGATIVE_INFINITY
  /**
   * The bytes written since the loop turned or the last stall, and by `…Sync` calls since they last
   * paid.
   */
  #turnBytes = 0
  #callBytes = 0
  readonly #held: Held[] = []
  #delayMsPerMib = 0
  /** The time at which all that was written would have settled at the required pace. */
  #paidAtMs = Number.NEGATIVE_INFINITY
  /** The time at which a timer is to look at what is held; infinite if none is set. */
  #timerAtMs = Number.POSITIVE_INFINITY

  constructor(loop: EventLoop) {
    this.#loop = loop
  }

  /**
   * The time for which the event loop had not turned at the last look at the clock, in
   * milliseconds.
   */
  get turnMs(): number {
    return this.#lookedAtMs - this.#turnBeganAtMs
  }

  /**
   * Settles a group, now or later.
   *
   * @param isInRun whether the caller that began its writes has not returned to the event loop
   * since
   */
  release(group: Group, isInRun = false): void {
    if (!isInRun) this.#hasRunEnded = true
    this.#turnBytes += group.byteCount
    this.#credit -= group.byteCount + GROUP_COST
    if (this.#credit > 0) group.resolve()
    else this.#releaseByClock(group)
  }

  /** Notes that callers that wait may go on in this turn. */
  endRun(): void {
    this.#hasRunEnded = true
  }

  /**
   * Returns a promise of `answer` for a write that had nothing to write; it settles as a group's
   * does.
   */
  pass<T>(answer: T): Promise<T> {
    this.#credit -= GROUP_COST
    if (this.#credit > 0) return Promise.resolve(answer)
    const group = new Group()
    this.#hasRunEnded = true
    this.#releaseByClock(group)
    return group.promise.then(() => answer)
  }

  /** Counts a group that was settled when a call returned. */
  count(byteCount: number): void {
    this.#turnBytes += byteCount
    this.#callBytes += byteCount
    this.#credit -= byteCount + GROUP_COST
    if (this.#credit <= 0) this.#look()
  }

  /**
   * Returns the bytes for which a writer has to do in its own call what is due: because a look at
   * the clock found the event loop stalled, or because `…Sync` calls are slowed. Returns
   * `undefined` if the writer need not, or has done so.
   */
  takeStall(): number | undefined {
    if (!this.#isStalled && !this.#mustPay) return undefined
    const byteCount = this.#isStalled ? this.#turnBytes : this.#callBytes
    this.#isStalled = false
    this.#stalledAtMs = this.#lookedAtMs
    this.#turnBytes = 0
    this.#callBytes = 0
    return byteCount
  }

  /**
   * Settles what is released from now on later by this many milliseconds per mebibyte. With 0,
   * settles what is held as well.
   */
  slow(delayMsPerMib: number): void {
    this.#delayMsPerMib = delayMsPerMib
    if (delayMsPerMib > 0) this.#credit = 0
    else if (this.#paidAtMs !== Number.NEGATIVE_INFINITY) {
      this.#paidAtMs = Number.NEGATIVE_INFINITY
      this.settleHeld()
    }
  }

  /** Settles all that is held. */
  settleHeld(): void {
    for (const { group } of this.#held.splice(0)) group.resolve()
  }

  #releaseByClock(group: Group): void {
    const turn = this.#look()
    const nowMs = this.#lookedAtMs
    const dueAtMs = this.#delayMsPerMib === 0 ? nowMs : this.#dueAt(group, nowMs)
    const mayGoOn = this.turnMs < LONGEST_TURN_MS || !this.#hasRunEnded
    if (this.#held.length === 0 && mayGoOn && dueAtMs <= nowMs) {
      group.resolve()
      return
    }
    this.#held.push({ group, dueAtMs })
    this.#credit = 0
    // A caller may wait for nothing else.
    if (dueAtMs <= nowMs) turn.ref()
    else this.#startTimer(dueAtMs, nowMs)
  }

  /**
   * Returns the time at which a group is to settle at the required pace, or now if that is hardly
   * later.
   */
  #dueAt({ byteCount }: Group, nowMs: number): number {
    this.#credit = 0
    this.#paidAtMs = Math.max(this.#paidAtMs, nowMs) + (byteCount / MIB) * this.#delayMsPerMib
    return this.#paidAtMs - nowMs < LEAST_DELAY_MS ? nowMs : this.#paidAtMs
  }

  #startTimer(dueAtMs: number, nowMs: number): void {
    if (this.#timerAtMs <= dueAtMs) return
    this.#timerAtMs = dueAtMs
    this.#loop.after(Math.ceil(dueAtMs - nowMs), () => {
      this.#timerAtMs = Number.POSITIVE_INFINITY
      // A test may have stopped the clock. What the timer was for is due all the same.
      this.#settleDue(Math.max(dueAtMs, this.#loop.nowMs()))
    })
  }

  #settleDue(nowMs: number): void {
    const later = this.#held.findIndex(({ dueAtMs }) => dueAtMs > nowMs)
    const due = this.#held.splice(0, later === -1 ? this.#held.length : later)
    for (const { group } of due) group.resolve()
    const [next] = this.#held
    if (next !== undefined) this.#startTimer(next.dueAtMs, nowMs)
  }

  /** Whether `…Sync` calls owe enough time to be worth a pause. */
  get #mustPay(): boolean {
    return this.#callBytes * this.#delayMsPerMib >= LEAST_DELAY_MS * MIB
  }

  #look(): PendingTurn {
    const nowMs = this.#loop.nowMs()
    const isBusy = nowMs - this.#lookedAtMs < SELDOM_MS
    this.#credit = isBusy && this.#delayMsPerMib === 0 ? BYTES_PER_LOOK : 0
    this.#lookedAtMs = nowMs
    if (this.#turn === undefined) {
      this.#turnBeganAtMs = nowMs
      this.#turn = this.#loop.afterTurn(() => this.#turned())
      this.#turn.unref()
    }
    this.#isStalled ||= this.turnMs >= STALL_MS && nowMs - this.#stalledAtMs >= SELDOM_MS
    return this.#turn
  }

  #turned(): void {
    this.#turn = undefined
    this.#hasRunEnded = false
    this.#isStalled = false
    this.#turnBytes = 0
    if (this.#held.length > 0) this.#settleDue(this.#loop.nowMs())
  }
}
