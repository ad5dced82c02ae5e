/** Slices of work on the main thread. */

import { monotonicMs, nextSlice } from './time.ts'

/** The length of a slice, in milliseconds. */
const SLICE_MS = 1
/** The largest number of short steps between two looks at the clock. */
const MAX_STEPS_PER_LOOK = 16
/**
 * If the steps since the last look took longer than this together, each step is followed by a look.
 */
const SHORT_MS = 0.1

/**
 * Cuts work into slices of a few milliseconds, so that timers and sockets get their turns in
 * between.
 */
export class TimeSlice {
  #beganAt = monotonicMs()
  #lookedAt = this.#beganAt
  #stepsPerLook = 1
  #steps = 0

  /** Whether the slice is used up; called after each step of the work. */
  isOver(): boolean {
    if (++this.#steps < this.#stepsPerLook) return false
    const now = monotonicMs()
    const isShort = now - this.#lookedAt < SHORT_MS
    this.#stepsPerLook = isShort ? Math.min(this.#stepsPerLook * 2, MAX_STEPS_PER_LOOK) : 1
    this.#steps = 0
    this.#lookedAt = now
    return now - this.#beganAt > SLICE_MS
  }

  /** Lets the event loop turn, and begins the next slice. */
  async next(): Promise<void> {
    await nextSlice()
    this.begin()
  }

  /** Begins the next slice. */
  begin(): void {
    this.#beganAt = monotonicMs()
    this.#lookedAt = this.#beganAt
  }
}
