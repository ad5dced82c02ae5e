import type { Values } from './workload.ts'

/** How durable a write is when it counts as done. */
export type Mode =
  /** The operating system has it; nothing asks for more. */
  | 'unsynced'
  /** As the store is by default: synced behind the writer's back. */
  | 'background'
  /** It survives a power loss. */
  | 'durable'

/** Which part of a store is walked: keys that begin with `prefix`, or from `gte` on; at most `limit`. */
export interface Scan {
  readonly prefix?: string
  readonly gte?: string
  readonly limit?: number
}

/** What no key begins with after a prefix: the end of a prefix's range, where a store knows only bounds. */
export const PAST_ALL = '\uffff'

/** A store to be measured: a name, and how it is opened. */
export interface Contender {
  readonly name: string
  open(directory: string, mode: Mode, values: Values): Promise<OpenContender>
}

/**
 * A store that is open.
 *
 * Each contender has its own loops, so that the compiler specialises them for it alone; they are kept as alike as the
 * stores allow. `order` lists indexes of keys (workload.ts); the part [from, to) of it is used.
 */
export interface OpenContender {
  /** Reads; touches each value; answers how many keys were there. */
  read(order: Uint32Array, from: number, to: number): number
  /**
   * Begins a put and waits for nothing; where a store has no such thing, the put joins a batch or transaction.
   * `settle` ends it.
   */
  put(index: number): void
  /** Resolves when all puts that were begun have settled. */
  settle(): Promise<void>
  /** Puts by the store's synchronous call, one after the other. */
  putSync(order: Uint32Array, from: number, to: number): void
  /** Puts in one atomic batch. */
  putBatch(order: Uint32Array, from: number, to: number): Promise<void> | void
  /** One put; resolves when it is as durable as the mode says. */
  putAwaited(index: number): Promise<unknown>
  /** Walks entries, touches each value, answers how many there were. */
  scan(scan: Scan): number | Promise<number>
  close(): Promise<void>
}
