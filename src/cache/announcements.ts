/**
 * What a cache tells: its events, and the messages of the diagnostics channel.
 *
 * Invariant: a listener never runs while the cache changes. Everything is reported in a microtask of its own, in the order
 * in which it happened; so a listener may call any method, and what it throws is thrown past the cache, as from any
 * callback.
 */

import { EventEmitter } from 'node:events'
import { afterThis } from '../scheduling/time.ts'
import { type CacheMessage, operationChannel } from './channels.ts'
import { asError } from './failure.ts'
import type { DepartureCause } from './shelf.ts'

/** Why an entry was given up. */
export type EvictionCause = Exclude<DepartureCause, 'expired'>

/** What a cache tells, by event; each in a microtask after what it tells of. */
export interface CacheEvents {
  /** An entry was given up. */
  evict: [key: string, cause: EvictionCause]
  /** An entry that had expired was forgotten; so it is without being read. */
  expire: [key: string]
  /**
   * The directory failed: the cache goes on, emptied or without a disk. Or a value could not be decoded, or the clock
   * threw where no caller waits. Without a listener it is a warning of the process.
   */
  error: [error: Error]
}

/** The announcements of one cache. */
export class Announcements {
  readonly #directory: string
  readonly #events = new EventEmitter<CacheEvents>()

  constructor(directory: string) {
    this.#directory = directory
  }

  on<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): void {
    this.#events.on(name, listener as never)
  }

  once<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): void {
    this.#events.once(name, listener as never)
  }

  off<N extends keyof CacheEvents>(name: N, listener: (...args: CacheEvents[N]) => void): void {
    this.#events.off(name, listener as never)
  }

  /** Whether anybody would hear that an entry leaves for this reason. */
  isHeard(cause: DepartureCause): boolean {
    return this.#events.listenerCount(eventOf(cause)) > 0 || operationChannel.hasSubscribers
  }

  /** An entry has left unasked. */
  left(key: string, cause: DepartureCause): void {
    this.operation('evict', key, cause)
    if (this.#events.listenerCount(eventOf(cause)) === 0) return
    if (cause === 'expired') afterThis(() => void this.#events.emit('expire', key))
    else afterThis(() => void this.#events.emit('evict', key, cause))
  }

  /** An operation has ended. */
  operation(operation: CacheMessage['operation'], key: string | undefined, outcome: string): void {
    if (!operationChannel.hasSubscribers) return
    const message: CacheMessage = { cache: this.#directory, operation, key, outcome }
    afterThis(() => operationChannel.publish(message))
  }

  /** Something went wrong. */
  error(error: unknown): void {
    const reported = asError(error)
    afterThis(() => {
      if (this.#events.listenerCount('error') > 0) this.#events.emit('error', reported)
      else process.emitWarning(reported)
    })
  }
}

function eventOf(cause: DepartureCause): 'expire' | 'evict' {
  return cause === 'expired' ? 'expire' : 'evict'
}
