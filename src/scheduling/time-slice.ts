import { monotonicMs, nextSlice } from './time.ts'

/** How long the event loop is held at once, in milliseconds. */
const SLICE_MS = 1
/** So many short steps are made between two looks at the clock, at most. */
const MAX_STEPS_PER_LOOK = 16
/** Steps that take longer together are each followed by a look at the clock. */
const SHORT_MS = 0.1

/** Cuts work into slices of a few milliseconds, so that timers and sockets get their turns in between. */
export class TimeSlice {
  #beganAt = monotonicMs()
  #lookedAt = this.#beganAt
  #stepsPerLook = 1
  #steps = 0

  /** Whether the slice is used up; to be asked after each step of the work. */
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
