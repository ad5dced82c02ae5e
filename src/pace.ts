/**
 * When the promise of a group that is as durable as was promised settles: at once, or after a turn of the event loop.
 *
 * Who waits for a promise that is settled goes on before the event loop turns. So a loop that awaits each write, and
 * gets each promise settled at once, keeps every timer and all I/O of the process waiting for as long as it runs.
 * Therefore a group that settles when the loop has not turned for {@link LONGEST_TURN_MS} is *held* until it has.
 *
 * A loop of `…Sync` calls cannot be made to wait like that: the event loop is *stalled* then, and what is due by time
 * has to be done in these calls (chores.ts, durability.ts).
 *
 * Invariants
 * - Groups settle in the order in which they are released.
 * - The clock is looked at every so many groups and bytes only: a look costs about as much as a twentieth of a write.
 */

import type { EventLoop, PendingTurn } from './event-loop.ts'
import { Group } from './group.ts'

/** How long the event loop may be kept from turning by writes that are awaited one by one, in milliseconds. */
const LONGEST_TURN_MS = 4
/** When the event loop has not turned for so long, it is not to be waited for, in milliseconds. */
export const STALL_MS = 20
/** The clock is looked at after so many bytes at the latest, and after so many groups. */
const BYTES_PER_LOOK = 64 * 1024
const GROUPS_PER_LOOK = 16
const GROUP_COST = BYTES_PER_LOOK / GROUPS_PER_LOOK
/** Where so much time lies between two looks, each group is worth one, in milliseconds. */
const SELDOM_MS = 1

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
  readonly #held: Group[] = []

  constructor(loop: EventLoop) {
    this.#loop = loop
  }

  /** How long the event loop had not turned when the clock was looked at last, in milliseconds. */
  get turnMs(): number {
    return this.#lookedAtMs - this.#turnBeganAtMs
  }

  /** Settles a group, now or later. */
  release(group: Group): void {
    this.#credit -= group.byteCount + GROUP_COST
    if (this.#credit > 0) group.resolve()
    else this.#releaseByClock(group)
  }

  /** A promise of `answer` for a write that had nothing to write; it settles as a group's does. */
  pass<T>(answer: T): Promise<T> {
    this.#credit -= GROUP_COST
    if (this.#credit > 0) return Promise.resolve(answer)
    const group = new Group()
    this.#releaseByClock(group)
    return group.promise.then(() => answer)
  }

  /** Takes note of a group that was settled on return of a call. */
  count(byteCount: number): void {
    this.#credit -= byteCount + GROUP_COST
    if (this.#credit <= 0) this.#look()
  }

  /** Whether the event loop was found stalled by a look at the clock since this was asked last. */
  takeStall(): boolean {
    if (!this.#isStalled) return false
    this.#isStalled = false
    return true
  }

  /** Settles all that is held. */
  settleHeld(): void {
    for (const group of this.#held.splice(0)) group.resolve()
  }

  #releaseByClock(group: Group): void {
    const turn = this.#look()
    if (this.#held.length === 0 && this.turnMs < LONGEST_TURN_MS) {
      group.resolve()
      return
    }
    this.#held.push(group)
    this.#credit = 0
    // Somebody may wait for nothing else.
    turn.ref()
  }

  #look(): PendingTurn {
    const nowMs = this.#loop.nowMs()
    this.#credit = nowMs - this.#lookedAtMs < SELDOM_MS ? BYTES_PER_LOOK : 0
    this.#lookedAtMs = nowMs
    if (this.#turn === undefined) {
      this.#turnBeganAtMs = nowMs
      this.#turn = this.#loop.afterTurn(() => this.#turned())
      this.#turn.unref()
    }
    this.#isStalled ||= this.turnMs >= STALL_MS
    return this.#turn
  }

  #turned(): void {
    this.#turn = undefined
    this.#isStalled = false
    this.settleHeld()
  }
}
