/** Work of the engine in slices, during which nothing is staged. */

import type { Entry } from '../keydir/keydir.ts'
import { over, turn, type Work } from '../scheduling/task.ts'
import { monotonicMs } from '../scheduling/time.ts'
import type { Engine } from './engine.ts'

/** The longest that the main thread is held at once, in milliseconds. */
const SLICE_MS = 1
/** The number of entries walked in one step. */
const WALK_ENTRIES = 512
/** The number of steps between two looks at the clock. */
const STEPS_PER_LOOK = 16

/**
 * A slice of work on the main thread, so short that nothing else waits long.
 *
 * Invariant: nothing is staged during a slice. Undoing a group that could not be written would
 * bring back locations that the merge has taken for dead.
 */
export class Slice {
  readonly #engine: Engine
  #beganAt = 0
  #steps = 0

  private constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Begins a slice, once nothing is staged. */
  static *begin(engine: Engine): Work<Slice> {
    const slice = new Slice(engine)
    yield* slice.#begin()
    return slice
  }

  /** Whether it is time for other work. */
  isOver(): boolean {
    return ++this.#steps % STEPS_PER_LOOK === 0 && monotonicMs() - this.#beganAt > SLICE_MS
  }

  /** Lets other work have its turn, and begins another slice. */
  *next(): Work<void> {
    yield* over(turn)
    yield* this.#begin()
  }

  *#begin(): Work<void> {
    yield* this.#engine.commits.writeInTurns()
    this.#beganAt = monotonicMs()
  }
}

/**
 * Visits every entry of the keydir, in slices. Entries that change meanwhile may be visited or not.
 */
export function* walkInSlices(
  engine: Engine,
  visit: (entry: Entry) => void,
  signal: AbortSignal | undefined,
): Work<void> {
  const slice = yield* Slice.begin(engine)
  let keydir = engine.keydir
  for (let place = 0; place !== -1; ) {
    signal?.throwIfAborted()
    if (engine.keydir !== keydir) {
      // It was loaded again, so begin again. What was noted before is still right, and is noted
      // again.
      keydir = engine.keydir
      place = 0
    }
    place = engine.live.walk(place, WALK_ENTRIES, visit)
    if (slice.isOver()) yield* slice.next()
  }
}
