/** Defines the part that a cache plays in the benches of caches. */

/** A cache to be measured: its name, its share of the keys, and a function that opens it. */
export interface CacheContender {
  readonly name: string
  /** The share of the keys that it gets: a cache with a file for each entry gets fewer. */
  readonly share: number
  /** Whether it keeps its entries in a directory; if not, closing it loses them. */
  readonly persistent: boolean
  open(directory: string, maxBytes: number): Promise<OpenCache>
}

/**
 * An open cache. Its values are text.
 *
 * Each contender has its own loops, so that the compiler specialises them for it alone. `order`
 * lists indexes of keys (workload.ts); the part [from, to) of it is used. Asynchronous calls are
 * awaited one by one, as in a program that needs the result.
 */
export interface OpenCache {
  /** Gets keys, and returns how many of them were present. */
  get(order: Uint32Array, from: number, to: number): number | Promise<number>
  set(order: Uint32Array, from: number, to: number): void | Promise<void>
  close(): Promise<void>
}
