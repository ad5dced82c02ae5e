/** A cache's figures; counts are since it was opened. */
export interface CacheStats {
  /** Entries that are there; those that have expired count until they are swept. */
  readonly entries: number
  readonly bytes: {
    /** What live entries take, keys and heads included. */
    readonly live: number
    /** What the segments take on disk; at most the limit. */
    readonly disk: number
    readonly limit: number
  }
  /** Invalidated tags that are remembered, for entries that are older and may still have them. */
  readonly tags: number
  /** Reads that found something fresh. */
  readonly hits: number
  readonly misses: number
  /** Reads that were served something stale while it was loaded anew. */
  readonly staleHits: number
  readonly sets: number
  /** Sets of what is too large. */
  readonly refused: number
  readonly deletes: number
  /** Entries that left unasked, by cause. */
  readonly evictions: {
    /** To keep within `maxBytes`. */
    readonly size: number
    /** To keep within `maxEntries`. */
    readonly count: number
    /** Because a tag of theirs was invalidated; counted when that is noticed. */
    readonly invalidated: number
    readonly expired: number
    /** Because the value could not be decoded. */
    readonly undecodable: number
  }
  readonly loads: {
    readonly started: number
    readonly failed: number
    readonly aborted: number
    /** How many were spared, because the same was being loaded. */
    readonly shared: number
    readonly running: number
    /** The time that all finished loads took, in milliseconds. */
    readonly totalMs: number
    readonly longestMs: number
  }
  /** How often the cache was emptied because of damage or a full disk. */
  readonly emptied: number
}

/** What is counted of {@link CacheStats}. */
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
