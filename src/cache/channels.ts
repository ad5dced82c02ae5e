/**
 * What caches tell to whoever listens through `node:diagnostics_channel`. Nothing is made while nobody does.
 *
 * - `firkin-cache:operations`: a {@link CacheMessage} for each operation.
 * - `tracing:firkin-cache:load:*`: a tracing channel around each load, with a {@link LoadContext}.
 */

import { channel, tracingChannel } from 'node:diagnostics_channel'

/** What happened in a cache. */
export interface CacheMessage {
  /** The cache's directory. */
  readonly cache: string
  readonly operation: 'get' | 'set' | 'delete' | 'invalidate' | 'clear' | 'evict'
  /** The key, or the tag that was invalidated; `undefined` for all. */
  readonly key: string | undefined
  /** How it ended; of an eviction, why it was made. */
  readonly outcome: string
}

/** What is told of a load. */
export interface LoadContext {
  readonly cache: string
  readonly key: string
}

/** Each operation of each cache. */
export const operationChannel = channel('firkin-cache:operations')

/** Each load of each cache. */
export const loadChannel = tracingChannel<unknown, LoadContext>('firkin-cache:load')
