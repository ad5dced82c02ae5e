/**
 * Chooses the provider that maps memory in this process: `koffi` if it is installed, because it
 * releases files in a thread, or else `mmap-io`. The environment variable FIRKIN_MMAP names one, or
 * is `off`.
 */

import { createKoffiProvider } from './koffi.ts'
import { loadMmapIo } from './mmap-io.ts'
import type { MapProvider } from './provider.ts'

const LOADERS: Readonly<Record<MapProvider['name'], () => MapProvider | undefined>> = {
  koffi: createKoffiProvider,
  'mmap-io': loadMmapIo,
}

let provider: MapProvider | undefined
let isChosen = false

/** Returns the provider, loaded when it is first needed; `undefined` if nothing can map memory. */
export function mapProvider(): MapProvider | undefined {
  if (!isChosen) {
    isChosen = true
    provider = load()
  }
  return provider
}

function load(): MapProvider | undefined {
  const wanted = process.env.FIRKIN_MMAP
  if (wanted === 'off') return undefined
  if (wanted === 'koffi' || wanted === 'mmap-io') return LOADERS[wanted]()
  return createKoffiProvider() ?? loadMmapIo()
}
