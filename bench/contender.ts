/** Defines the part that a store plays in the benches. */

import type { Values } from './workload.ts'

/** The durability of a write when it counts as done. */
export type Mode =
  /** The operating system has it, and no sync follows. */
  | 'unsynced'
  /** The default of the store: a sync follows in the background. */
  | 'background'
  /** It survives a power loss. */
  | 'durable'

/**
 * The range of a scan: keys that begin with `prefix`, or from `gte` on; at most `limit` entries.
 */
export interface Scan {
  readonly prefix?: string
  readonly gte?: string
  readonly limit?: number
}

/** Ends the range of a prefix, for stores that know only bounds: no key has it after the prefix. */
export const PAST_ALL = '\uffff'

/** A store to be measured: its name, and a function that opens it. */
export interface Contender {
  readonly name: string
  open(directory: string, mode: Mode, values: Values): Promise<OpenContender>
}

/**
 * An open store.
 *
 * Each contender has its own loops, so that the compiler specialises them for it alone. They are as
 * alike as the stores allow. `order` lists indexes of keys (workload.ts); the part [from, to) of it
 * is used.
 */
export interface OpenContender {
  /** Reads keys, touches each value, and returns how many keys were present. */
  read(order: Uint32Array, from: number, to: number): number
  /**
   * Begins a put and does not wait. If a store cannot do that, the put joins a batch or transaction
   * that `settle` ends.
   */
  put(index: number): void
  /** Resolves when all puts that have begun are settled. */
  settle(): Promise<void>
  /** Puts by the store's synchronous call, one after the other. */
  putSync(order: Uint32Array, from: number, to: number): void
  /** Puts in one atomic batch. */
  putBatch(order: Uint32Array, from: number, to: number): Promise<void> | void
  /** Puts once; resolves when the put is as durable as the mode says. */
  putAwaited(index: number): Promise<unknown>
  /** Walks entries, touches each value, and returns how many there were. */
  scan(scan: Scan): number | Promise<number>
  close(): Promise<void>
}
