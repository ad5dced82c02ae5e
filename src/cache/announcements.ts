/**
 * The events of a cache, and its messages on the diagnostics channel.
 *
 * Invariant: a listener never runs while the cache changes. Each event and message has a microtask
 * of its own, in the order in which things happened. So a listener may call any method, and what it
 * throws bypasses the cache, as from any callback.
 */

import { EventEmitter } from 'node:events'
import { afterThis } from '../scheduling/time.ts'
import { type CacheMessage, operationChannel } from './channels.ts'
import { asError } from './failure.ts'
import type { DepartureCause } from './shelf.ts'

/** The cause of an eviction. */
export type EvictionCause = Exclude<DepartureCause, 'expired'>

/** The events of a cache; each is emitted in a microtask after what it reports. */
export interface CacheEvents {
  /** An entry was evicted. */
  evict: [key: string, cause: EvictionCause]
  /** An entry that had expired was removed; no read is needed for that. */
  expire: [key: string]
  /**
   * The directory failed, and the cache goes on, emptied or without a disk. Or a value could not be
   * decoded, or the clock threw while no caller was waiting. Without a listener, the error becomes
   * a warning of the process.
   */
  error: [error: Error]
}

/** Emits the events of one cache, and publishes its messages. */
export class Announcements {
  readonly #directory: string
  readonly #events = new EventEmitter<CacheEvents>()

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Adds a listener. */
  on<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): void {
    this.#events.on(name, listener as never)
  }

  /** Adds a listener for the next event only. */
  once<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): void {
    this.#events.once(name, listener as never)
  }

  /** Removes a listener. */
  off<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): void {
    this.#events.off(name, listener as never)
  }

  /** Whether anyone listens for entries that leave for this cause. */
  isHeard(cause: DepartureCause): boolean {
    return this.#events.listenerCount(eventOf(cause)) > 0 || operationChannel.hasSubscribers
  }

  /** Reports that an entry was evicted, or has expired. */
  left(key: string, cause: DepartureCause): void {
    this.operation('evict', key, cause)
    if (this.#events.listenerCount(eventOf(cause)) === 0) return
    if (cause === 'expired') afterThis(() => void this.#events.emit('expire', key))
    else afterThis(() => void this.#events.emit('evict', key, cause))
  }

  /** Publishes that an operation has ended. */
  operation(operation: CacheMessage['operation'], key: string | undefined, outcome: string): void {
    if (!operationChannel.hasSubscribers) return
    const message: CacheMessage = { cache: this.#directory, operation, key, outcome }
    afterThis(() => operationChannel.publish(message))
  }

  /** Reports an error: by the event, or as a warning of the process if nobody listens. */
  error(thrown: unknown): void {
    const error = asError(thrown)
    afterThis(() => {
      if (this.#events.listenerCount('error') > 0) this.#events.emit('error', error)
      else process.emitWarning(error)
    })
  }
}

function eventOf(cause: DepartureCause): 'expire' | 'evict' {
  return cause === 'expired' ? 'expire' : 'evict'
}
