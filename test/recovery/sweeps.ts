import type { StoreSettings } from '../../src/options.ts'
import { type SweepCounts, sweepCrashes } from './crash-sweep.ts'
import { type FaultMode, sweepFaults } from './fault-sweep.ts'
import { type MemoryMode, sweepMemory } from './memory-sweep.ts'

type Sync = NonNullable<StoreSettings['sync']>
type Keydir = NonNullable<StoreSettings['keydir']>

/** A sweep that has a name. */
export interface Sweep {
  readonly name: string
  readonly mode: 'crash' | FaultMode | MemoryMode
  readonly sync: Sync
  readonly keydir: Keydir
  /** Whether writes hold up the process, so that a thread makes them. */
  readonly slow: boolean
}

const MODES = [
  'crash',
  'once',
  'lasting',
  'gone',
  'twice',
  'short',
  'full',
  'no memory once',
  'no memory',
] as const
const SYNCS: readonly Sync[] = ['always', 'interval', 'never', { everyWrites: 3 }]
const KEYDIRS: readonly Keydir[] = ['btree', 'hash', 'skiplist', 'bplustree']

/** Sweeps of every way of crashing and failing, with every mode of `sync` and every keydir. */
export const SWEEPS: readonly Sweep[] = MODES.flatMap((mode) =>
  SYNCS.flatMap((sync) =>
    KEYDIRS.flatMap((keydir) =>
      [false, true].map((slow) => {
        const name = `${mode}/${typeof sync === 'string' ? sync : 'everyWrites'}/${keydir}`
        return { name: slow ? `${name}/slow` : name, mode, sync, keydir, slow }
      }),
    ),
  ),
)

/** The sweeps that every run of the tests makes. Together they have each value. */
export const DEFAULT_SWEEPS: readonly string[] = [
  'crash/always/btree',
  'crash/interval/hash',
  'crash/everyWrites/skiplist',
  'once/always/btree',
  'lasting/everyWrites/hash',
  'gone/interval/skiplist',
  'twice/always/hash',
  'short/never/bplustree',
  'full/always/skiplist',
  'no memory once/interval/btree',
  'no memory/everyWrites/hash',
  'crash/interval/btree/slow',
  'once/interval/hash/slow',
  'lasting/never/btree/slow',
  'full/interval/skiplist/slow',
  'no memory/interval/hash/slow',
]

/** Runs the sweep with a name, at one of `stride` calls in a row. */
export async function runSweep(name: string, seed: number, stride: number): Promise<SweepCounts> {
  const sweep = SWEEPS.find((candidate) => candidate.name === name)
  if (sweep === undefined) throw new Error(`There is no sweep ${name}`)
  const { mode, sync, keydir, slow } = sweep
  const sweeping = { seed, options: { sync, keydir }, slow, stride }
  switch (mode) {
    case 'crash':
      return sweepCrashes(sweeping)
    case 'no memory':
    case 'no memory once':
      return sweepMemory({ mode, ...sweeping })
    default:
      return sweepFaults({ mode, ...sweeping })
  }
}
