import { type CacheOptions, PersistentCache } from '../../src/cache/cache.ts'
import type { Files } from '../../src/io/files.ts'
import type { EventLoop } from '../../src/scheduling/event-loop.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'

/** Where the caches of tests in memory lie. */
export const DIRECTORY = '/cache'

/** The least that a cache may take. */
export const MIB = 2 ** 20

/** A clock that stands still until it is told. */
export class Clock {
  now = 1_000_000
  readonly read = (): number => this.now
}

/** Opens a cache on files in memory. */
export async function openInMemory<V = Buffer>(
  files: Files = new FaultyFiles(1),
  options: Partial<CacheOptions<V>> = {},
  loop?: EventLoop,
): Promise<PersistentCache<V>> {
  return await PersistentCache.open<V>(
    DIRECTORY,
    { maxBytes: MIB, mapping: false, ...options },
    { files, lock: false, backgroundWork: inProcessWork(files), ...(loop && { loop }) },
  )
}
