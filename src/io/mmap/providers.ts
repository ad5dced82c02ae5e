/**
 * Which provider maps memory in this process: `koffi` where it is there, which lets go of files by a thread, else
 * `mmap-io`. The environment variable FIRKIN_MMAP names one, or is `off`.
 */

import { loadKoffi } from './koffi.ts'
import { loadMmapIo } from './mmap-io.ts'
import type { MapProvider } from './provider.ts'

const LOADERS: Readonly<Record<MapProvider['name'], () => MapProvider | undefined>> = {
  koffi: loadKoffi,
  'mmap-io': loadMmapIo,
}

/** What maps memory; `undefined` where nothing does. */
export const provider = load()

function load(): MapProvider | undefined {
  const wanted = process.env.FIRKIN_MMAP
  if (wanted === 'off') return undefined
  if (wanted === 'koffi' || wanted === 'mmap-io') return LOADERS[wanted]()
  return loadKoffi() ?? loadMmapIo()
}
