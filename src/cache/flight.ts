/**
 * A load in progress, and the callers that wait for it.
 *
 * All callers that ask for a key while it is being loaded get the result of that one load. When the
 * last of them stops waiting, the load is aborted. A load in the background is never aborted.
 */

/** Loads a value; `signal` fires when nobody waits for it any longer. */
export type Loader<V> = (signal: AbortSignal) => V | Promise<V>

/** One load of one key. */
export class Flight<V> {
  /** Whether the key was set, deleted or invalidated meanwhile: the result is then not kept. */
  overtaken = false
  /** The tags that the loaded value will have. */
  readonly tags: readonly string[]
  readonly #controller = new AbortController()
  readonly #result: Promise<V>
  #settle: (result: Promise<V>) => void = () => undefined
  #waiterCount = 0

  constructor(tags: readonly string[]) {
    this.tags = tags
    this.#result = new Promise((resolve) => {
      this.#settle = resolve
    })
    // Each caller has a promise of its own, and there may be none left to handle this one.
    this.#result.catch(() => undefined)
  }

  /** Whether the load was aborted. */
  get aborted(): boolean {
    return this.#controller.signal.aborted
  }

  /** Whether the result may be kept. */
  get mayKeep(): boolean {
    return !(this.overtaken || this.aborted)
  }

  /** Whether the load goes on in the background, even if nobody waits. */
  get detached(): boolean {
    return this.#waiterCount === Number.POSITIVE_INFINITY
  }

  /**
   * Calls the loader. Call this only after others can find the flight, since the loader may ask for
   * the same key. What it throws rejects the flight.
   */
  begin(load: Loader<V>): void {
    this.#settle((async () => await load(this.#controller.signal))())
  }

  /** Lets the load go on in the background. */
  detach(): void {
    this.#waiterCount = Number.POSITIVE_INFINITY
  }

  /** Waits for the load, or until `signal` fires. */
  async wait(signal: AbortSignal | undefined): Promise<V> {
    signal?.throwIfAborted()
    this.#waiterCount++
    if (signal === undefined) return await this.#result
    let leave = (): void => undefined
    const left = new Promise<never>((_, reject) => {
      leave = () => {
        if (--this.#waiterCount === 0) this.#controller.abort(signal.reason)
        reject(signal.reason)
      }
    })
    const stay = onAbort(signal, leave)
    try {
      return await Promise.race([this.#result, left])
    } finally {
      stay()
    }
  }
}

/** The calls to make when a signal fires. Each signal has one listener, however many wait on it. */
const waiting = new WeakMap<AbortSignal, Waiting>()

interface Waiting {
  readonly calls: Set<() => void>
  readonly listener: () => void
}

/** Calls `call` when `signal` fires. Returns a function that cancels that. */
function onAbort(signal: AbortSignal, call: () => void): () => void {
  const { calls, listener } = waiting.get(signal) ?? listenTo(signal)
  calls.add(call)
  return () => {
    if (!calls.delete(call) || calls.size > 0) return
    signal.removeEventListener('abort', listener)
    waiting.delete(signal)
  }
}

function listenTo(signal: AbortSignal): Waiting {
  const calls = new Set<() => void>()
  const listener = (): void => {
    waiting.delete(signal)
    for (const call of calls) call()
  }
  const added: Waiting = { calls, listener }
  waiting.set(signal, added)
  signal.addEventListener('abort', listener, { once: true })
  return added
}
