import { type CacheSettings, PersistentCache } from '../../src/cache/cache.ts'
import type { Files } from '../../src/io/files.ts'
import type { EventLoop } from '../../src/scheduling/event-loop.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'

/** The directory of the caches in memory. */
export const DIRECTORY = '/cache'

/** The smallest budget of a cache. */
export const MIB = 2 ** 20

/** A clock that stands still until a test moves it. */
export class Clock {
  now = 1_000_000
  readonly read = (): number => this.now
}

/** Opens a cache on files in memory. */
export async function openInMemory<V = Buffer>(
  files: Files = new FaultyFiles(1),
  options: Partial<CacheSettings<V>> = {},
  loop?: EventLoop,
): Promise<PersistentCache<V>> {
  return await PersistentCache.open<V>(
    DIRECTORY,
    { maxBytes: MIB, mapping: false, ...options },
    { files, lock: false, backgroundWork: inProcessWork(files), ...(loop && { loop }) },
  )
}
