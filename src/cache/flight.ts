/**
 * A load that is under way, and those who wait for it.
 *
 * All who ask for a key while it is loaded get what that one load gives. When the last of them gives up waiting, the
 * load is aborted; one in the background is waited for by the cache itself.
 */

/** Loads a value; `signal` fires when nobody waits for it any more. */
export type Loader<V> = (signal: AbortSignal) => V | Promise<V>

/** One load of one key. */
export class Flight<V> {
  /** Whether the key was set, deleted or invalidated meanwhile: then what is loaded is given, and not kept. */
  overtaken = false
  /** The tags that what is loaded will have. */
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
    // Whoever waits has a promise of his own; nobody may be left.
    this.#result.catch(() => undefined)
  }

  /** Whether the load was aborted. */
  get aborted(): boolean {
    return this.#controller.signal.aborted
  }

  /** Whether what is loaded may be kept. */
  get mayKeep(): boolean {
    return !(this.overtaken || this.aborted)
  }

  /** Whether the load goes on whoever waits. */
  get detached(): boolean {
    return this.#waiterCount === Number.POSITIVE_INFINITY
  }

  /** Calls the loader, once others can find this flight: it may ask for the same key. An error it throws is a rejection. */
  begin(load: Loader<V>): void {
    this.#settle((async () => await load(this.#controller.signal))())
  }

  /** Keeps the load from being aborted, whoever waits. */
  detach(): void {
    this.#waiterCount = Number.POSITIVE_INFINITY
  }

  /** Waits for the load, until `signal` fires. */
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

/** What is to be called when a signal fires: each has one listener, however many wait by it. */
const waiting = new WeakMap<AbortSignal, Waiting>()

interface Waiting {
  readonly calls: Set<() => void>
  readonly listener: () => void
}

/** Has `call` called when `signal` fires; answers what prevents that. */
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
  const its: Waiting = { calls, listener }
  waiting.set(signal, its)
  signal.addEventListener('abort', listener, { once: true })
  return its
}
