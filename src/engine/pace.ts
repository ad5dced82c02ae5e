/**
 * When the promise of a group that is as durable as was promised settles: at once, or after a turn of the event loop.
 *
 * Who waits for a promise that is settled goes on before the event loop turns. So a loop that awaits each write, and
 * gets each promise settled at once, keeps every timer and all I/O of the process waiting for as long as it runs.
 * Therefore a group that settles when the loop has not turned for {@link LONGEST_TURN_MS} is *held* until it has; but for
 * those of the first *run* of a turn, the writes that a caller begins without awaiting any, while it lasts: thousands who
 * wait for one held promise keep memory busy (bench `put`, windows of 100,000).
 *
 * Where merging is behind (merge/pressure.ts), groups are held longer, in proportion to their bytes. Time that passes
 * anyway counts, and delays too short for a timer are gathered: what is slowed is the rate.
 *
 * A loop of `…Sync` calls cannot be made to wait like that, nor one that waits for nothing: the event loop is *stalled*
 * then, and what is due has to be done in these calls (chores.ts, durability.ts, merge.ts). So have `…Sync` calls to
 * pay where groups are held for merging, whether the loop is stalled or not.
 *
 * Invariants
 * - Groups settle in the order in which they are released.
 * - The clock is looked at every so many groups and bytes only: a look costs about as much as a twentieth of a write.
 */

import type { EventLoop, PendingTurn } from '../scheduling/event-loop.ts'
import { Group } from './group.ts'

/** How long the event loop may be kept from turning by writes that are awaited one by one, in milliseconds. */
const LONGEST_TURN_MS = 3
/** When the event loop has not turned for so long, it is not to be waited for, in milliseconds. */
export const STALL_MS = 20
/** When it has not turned for so long, nothing in the background gets on, in milliseconds. */
export const HOPELESS_MS = 100
/** The clock is looked at after so many bytes at the latest, and after so many groups. */
const BYTES_PER_LOOK = 64 * 1024
const GROUPS_PER_LOOK = 16
const GROUP_COST = BYTES_PER_LOOK / GROUPS_PER_LOOK
/** A shorter delay than this is gathered until it is worth a timer, in milliseconds. */
const LEAST_DELAY_MS = 2
const MIB = 2 ** 20
/** Where so much time lies between two looks, each group is worth one, in milliseconds. */
const SELDOM_MS = 1

interface Held {
  readonly group: Group
  /** Not before that. */
  readonly dueAtMs: number
}

/** Settles groups so that the event loop turns. */
export class Pace {
  readonly #loop: EventLoop
  /** How much may be written before the next look at the clock. */
  #credit = 0
  #lookedAtMs = Number.NEGATIVE_INFINITY
  /** Fires when the loop turns; missing until the first look after that. */
  #turn: PendingTurn | undefined
  /** When `#turn` was asked for. */
  #turnBeganAtMs = 0
  #isStalled = false
  /** Whether a caller has let go since the loop turned, as far as is known. */
  #hasRunEnded = true
  /** When that was said last: what is staged is written for it, and groups are to be large. */
  #stalledAtMs = Number.NEGATIVE_INFINITY
  /** How many bytes were written since the loop turned, or the last stall; and by `…Sync` calls since they paid last. */
  #turnBytes = 0
  #callBytes = 0
  readonly #held: Held[] = []
  #delayMsPerMib = 0
  /** When all that was written would have settled at the pace that is asked for. */
  #paidAtMs = Number.NEGATIVE_INFINITY
  /** When a timer is to look at what is held; infinite where none is under way. */
  #timerAtMs = Number.POSITIVE_INFINITY

  constructor(loop: EventLoop) {
    this.#loop = loop
  }

  /** How long the event loop had not turned when the clock was looked at last, in milliseconds. */
  get turnMs(): number {
    return this.#lookedAtMs - this.#turnBeganAtMs
  }

  /**
   * Settles a group, now or later.
   *
   * @param isInRun whether the caller who has begun its writes has not let go since
   */
  release(group: Group, isInRun = false): void {
    if (!isInRun) this.#hasRunEnded = true
    this.#turnBytes += group.byteCount
    this.#credit -= group.byteCount + GROUP_COST
    if (this.#credit > 0) group.resolve()
    else this.#releaseByClock(group)
  }

  /** Takes note that those who wait may go on in this turn. */
  endRun(): void {
    this.#hasRunEnded = true
  }

  /** A promise of `answer` for a write that had nothing to write; it settles as a group's does. */
  pass<T>(answer: T): Promise<T> {
    this.#credit -= GROUP_COST
    if (this.#credit > 0) return Promise.resolve(answer)
    const group = new Group()
    this.#hasRunEnded = true
    this.#releaseByClock(group)
    return group.promise.then(() => answer)
  }

  /** Takes note of a group that was settled on return of a call. */
  count(byteCount: number): void {
    this.#turnBytes += byteCount
    this.#callBytes += byteCount
    this.#credit -= byteCount + GROUP_COST
    if (this.#credit <= 0) this.#look()
  }

  /**
   * Whether a writer has to do in its own call what is due, and for how many bytes: where the event loop was found stalled
   * by a look at the clock, or where `…Sync` calls are slowed. `undefined` where it has not, or has done so.
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

  /** Settles what is released from now on so many milliseconds later for each mebibyte; with 0, what is held as well. */
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
    // Somebody may wait for nothing else.
    if (dueAtMs <= nowMs) turn.ref()
    else this.#startTimer(dueAtMs, nowMs)
  }

  /** When a group is to settle at the pace that is asked for; now where that is hardly later. */
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
      // A test may have stopped the clock: what the timer was for is due all the same.
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

  /** Whether `…Sync` calls owe as much time as is worth a pause. */
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
