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
  #waiterCount = 0

  /** @param load begins at once; an error that it throws is a rejection */
  constructor(tags: readonly string[], load: Loader<V>) {
    this.tags = tags
    this.#result = (async () => await load(this.#controller.signal))()
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
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await Promise.race([this.#result, left])
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }
}
