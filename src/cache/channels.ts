/**
 * The messages of caches on `node:diagnostics_channel`. They are built only while there are
 * subscribers.
 *
 * - `firkin-cache:operations`: a {@link CacheMessage} for each operation.
 * - `tracing:firkin-cache:load:*`: a tracing channel around each load, with a {@link LoadContext}.
 */

import { channel, tracingChannel } from 'node:diagnostics_channel'

/** One operation of a cache. */
export interface CacheMessage {
  /** The cache's directory. */
  readonly cache: string
  readonly operation: 'get' | 'set' | 'delete' | 'invalidate' | 'clear' | 'evict'
  /** The key, or the tag that was invalidated; `undefined` for all. */
  readonly key: string | undefined
  /** The operation's result; for an eviction, its cause. */
  readonly outcome: string
}

/** The context of a load's trace. */
export interface LoadContext {
  readonly cache: string
  readonly key: string
}

/** @internal Publishes the operations of all caches. */
export const operationChannel = channel('firkin-cache:operations')

/** @internal Traces the loads of all caches. */
export const loadChannel = tracingChannel<object, LoadContext>('firkin-cache:load')
