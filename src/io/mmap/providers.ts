/**
 * Chooses the provider that maps memory in this process: `koffi` if it is installed, because it
 * releases files in a thread, or else `mmap-io`. The environment variable FIRKIN_MMAP names one, or
 * is `off`.
 */

import { loadKoffi } from './koffi.ts'
import { loadMmapIo } from './mmap-io.ts'
import type { MapProvider } from './provider.ts'

const LOADERS: Readonly<Record<MapProvider['name'], () => MapProvider | undefined>> = {
  koffi: loadKoffi,
  'mmap-io': loadMmapIo,
}

/** The provider; `undefined` if nothing can map memory. */
export const provider = load()

function load(): MapProvider | undefined {
  const wanted = process.env.FIRKIN_MMAP
  if (wanted === 'off') return undefined
  if (wanted === 'koffi' || wanted === 'mmap-io') return LOADERS[wanted]()
  return loadKoffi() ?? loadMmapIo()
}
