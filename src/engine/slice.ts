import type { Entry } from '../keydir/keydir.ts'
import { over, turn, type Work } from '../scheduling/task.ts'
import { monotonicMs } from '../scheduling/time.ts'
import type { Engine } from './engine.ts'

/** How long the main thread is held at once, in milliseconds. */
const SLICE_MS = 1
/** How many entries are walked in one step. */
const WALK_ENTRIES = 512
/** How many steps are made between two looks at the clock. */
const STEPS_PER_LOOK = 16

/**
 * Work on the main thread in small pieces, so that nothing else waits long.
 *
 * Invariant: nothing is staged while a piece is worked on. A group that could not be written would be undone
 * afterwards, and bring back locations that the merge has taken for dead.
 */
export class Slice {
  readonly #engine: Engine
  #beganAt = 0
  #steps = 0

  private constructor(engine: Engine) {
    this.#engine = engine
  }

  static *begin(engine: Engine): Work<Slice> {
    const slice = new Slice(engine)
    yield* slice.#begin()
    return slice
  }

  isOver(): boolean {
    return ++this.#steps % STEPS_PER_LOOK === 0 && monotonicMs() - this.#beganAt > SLICE_MS
  }

  /** Lets others have their turn. */
  *next(): Work<void> {
    yield* over(turn)
    yield* this.#begin()
  }

  *#begin(): Work<void> {
    yield* this.#engine.commits.writeInTurns()
    this.#beganAt = monotonicMs()
  }
}

/** Visits every entry of the keydir, in slices; what is changed meanwhile may be visited or not. */
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
      // It was loaded anew: begin again. What was noted before is still right, and noted again.
      keydir = engine.keydir
      place = 0
    }
    place = engine.live.walk(place, WALK_ENTRIES, visit)
    if (slice.isOver()) yield* slice.next()
  }
}
