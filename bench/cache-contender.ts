/** A cache to be measured: a name, how many keys it is given, and how it is opened. */
export interface CacheContender {
  readonly name: string
  /** Which share of the keys it is given: a cache of a file for each entry takes less of them. */
  readonly share: number
  /** Whether it has a directory; where not, nothing of it is left when it is closed. */
  readonly persistent: boolean
  open(directory: string, maxBytes: number): Promise<OpenCache>
}

/**
 * A cache that is open. Its values are text.
 *
 * Each contender has its own loops, so that the compiler specialises them for it alone. `order` lists indexes of keys
 * (workload.ts); the part [from, to) of it is used. What a cache does asynchronously is awaited one by one, as a
 * program does that needs the answer.
 */
export interface OpenCache {
  /** Gets; answers how many keys were there. */
  get(order: Uint32Array, from: number, to: number): number | Promise<number>
  set(order: Uint32Array, from: number, to: number): void | Promise<void>
  close(): Promise<void>
}
