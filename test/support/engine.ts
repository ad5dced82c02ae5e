import { type OpenEngine, openEngine } from '../../src/engine/open-engine.ts'
import { resolveOptions, type StoreSettings } from '../../src/options.ts'
import { systemLoop } from '../../src/scheduling/event-loop.ts'
import type { FaultyFiles } from './faulty-files.ts'
import { DISK } from './store.ts'

/** Opens the engine of a directory on a simulated disk, with no background work on it. */
export async function openEngineOn(
  files: FaultyFiles,
  options: StoreSettings<Buffer> = {},
): Promise<OpenEngine> {
  const resolved = resolveOptions({ lock: false, mapping: false, ...options })
  return await openEngine(files, DISK, resolved, systemLoop)
}

/** Puts an empty value, as a store does. @param expiresAtMs 0 if it never expires */
export function putEmpty({ engine }: OpenEngine, key: string, expiresAtMs = 0): void {
  engine.attend()
  engine.key.encode(key)
  engine.put('', 0, expiresAtMs)
}
