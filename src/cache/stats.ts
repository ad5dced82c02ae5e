/** The figures of a cache. Counts begin when it is opened. */
export interface CacheStats {
  /** Current entries. Expired ones count until they are swept. */
  readonly entries: number
  readonly bytes: {
    /** The bytes of live entries, keys and heads included. */
    readonly live: number
    /** The bytes of segments on disk; at most the limit. */
    readonly disk: number
    readonly limit: number
  }
  /** Invalidated tags that are remembered, because older entries may still have them. */
  readonly tags: number
  /** Reads that found a fresh value. */
  readonly hits: number
  readonly misses: number
  /** Reads that returned a stale value while it was reloaded. */
  readonly staleHits: number
  readonly sets: number
  /** Sets that returned false. */
  readonly refused: number
  readonly deletes: number
  /** Entries that were evicted or have expired, by cause. */
  readonly evictions: {
    /** To keep within `maxBytes`. */
    readonly size: number
    /** To keep within `maxEntries`. */
    readonly count: number
    /** Because one of their tags was invalidated; counted when that is noticed. */
    readonly invalidated: number
    readonly expired: number
    /** Because their value could not be decoded. */
    readonly undecodable: number
  }
  readonly loads: {
    readonly started: number
    readonly failed: number
    readonly aborted: number
    /** Calls that shared a load already in progress. */
    readonly shared: number
    readonly running: number
    /** The total time of all finished loads, in milliseconds. */
    readonly totalMs: number
    readonly longestMs: number
  }
  /** How often the cache was emptied because of damage or a full disk. */
  readonly emptied: number
}

/** The counters of {@link CacheStats}. */
export class Counts {
  hits = 0
  misses = 0
  staleHits = 0
  sets = 0
  refused = 0
  deletes = 0
  emptied = 0
  readonly evictions = { size: 0, count: 0, invalidated: 0, expired: 0, undecodable: 0 }
  readonly loads = {
    started: 0,
    failed: 0,
    aborted: 0,
    shared: 0,
    running: 0,
    totalMs: 0,
    longestMs: 0,
  }
}
