/** Draws the rounds of a torture from seeds. */

import type { KeydirKind, MergeOptions, SyncOption } from '../../src/index.ts'
import { Random } from '../support/random.ts'
import type { Moment } from './order.ts'

/**
 * The moment at which a writer is killed. Times are in milliseconds, as exact as the machine is.
 */
export type KillPlan =
  /** Some time after the order to open. */
  | { readonly at: 'opening'; readonly ms: number }
  /** When a number of commits were begun. */
  | { readonly at: 'writing'; readonly commits: number }
  /** Some time after the nth report of a merge. */
  | { readonly at: 'merging'; readonly nth: number; readonly ms: number }
  /** Some time after it has begun to close, which it does after a number of commits. */
  | { readonly at: 'closing'; readonly commits: number; readonly ms: number }
  /** By itself, in its nth file call. */
  | { readonly at: 'call'; readonly nth: number; readonly moment: Moment }

/** A round: one kill, and the handling of the store after it. All of it follows from a seed. */
export interface RoundPlan {
  readonly seed: number
  readonly keydir: KeydirKind
  readonly sync: SyncOption
  readonly mapping: boolean
  readonly maxSegmentBytes: number
  readonly merge: MergeOptions
  readonly kill: KillPlan
  /** The number of times that a read-only store beside the writer is compared. */
  readonly looks: number
  /**
   * Processes that open the store afterwards, and are killed while they do or while they close it.
   */
  readonly killedOpens: readonly { readonly keydir: KeydirKind; readonly kill: KillPlan }[]
  /** The files that are removed before the store is opened again. */
  readonly removed: 'nothing' | 'checkpoint' | 'hints' | 'checkpoint and hints'
  /** The keydir that the store is checked with. */
  readonly checkedWith: KeydirKind
  /**
   * Whether it is opened to write and closed, or only read and left as it is to the next writer.
   */
  readonly reopens: boolean
}

const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']
const SYNCS: readonly SyncOption[] = [
  'never',
  'interval',
  'always',
  { everyWrites: 7 },
  { everyBytes: 20_000 },
]
const KIB = 1024
/** The approximate number of calls of an open and a close. */
const CALLS_OF_OPENING = 60
/** The most commits of a round, and the approximate number of their calls. */
const MOST_COMMITS = 1000
const CALLS_OF_WRITING = 1500

/** Draws a round. */
export function planRound(seed: number, mappings: readonly boolean[]): RoundPlan {
  const random = new Random(seed)
  return {
    seed,
    keydir: random.pick(KINDS),
    sync: random.pick(SYNCS),
    mapping: random.pick(mappings),
    maxSegmentBytes: random.pick([64, 64, 64, 256, 8192]) * KIB,
    merge: planMerges(random),
    kill: planKill(random),
    looks: random.chance(0.3) ? 2 + random.below(8) : 0,
    killedOpens: Array.from({ length: random.chance(0.3) ? 1 + random.below(2) : 0 }, () => ({
      keydir: random.pick(KINDS),
      kill: planKillOfOpening(random),
    })),
    removed: random.chance(0.6)
      ? 'nothing'
      : random.pick(['checkpoint', 'hints', 'checkpoint and hints']),
    checkedWith: random.pick(KINDS),
    reopens: random.chance(0.5),
  }
}

/** Draws merge options: all dead segments at once, few at a time, or small segments. */
function planMerges(random: Random): MergeOptions {
  const triggerDeadRatio = random.pick([0.2, 0.5, 0.8])
  return {
    automatic: random.chance(0.8),
    triggerDeadRatio,
    thresholdDeadRatio: random.pick([0.1, triggerDeadRatio]),
    smallSegmentBytes: random.pick([0, 8, 32]) * KIB,
    maxInputBytes: random.pick([64, 200, 4096]) * KIB,
  }
}

function planKill(random: Random): KillPlan {
  const drawn = random.below(100)
  if (drawn < 8) return { at: 'opening', ms: random.below(40) }
  if (drawn < 33) return { at: 'writing', commits: 1 + random.below(MOST_COMMITS) }
  if (drawn < 50) return { at: 'merging', nth: 1 + random.below(4), ms: random.below(12) }
  if (drawn < 60)
    return { at: 'closing', commits: random.below(MOST_COMMITS), ms: random.below(15) }
  const nth = 1 + random.below(random.chance(0.3) ? CALLS_OF_OPENING : CALLS_OF_WRITING)
  return { at: 'call', nth, moment: planMoment(random) }
}

function planKillOfOpening(random: Random): KillPlan {
  if (random.chance(0.5)) return { at: 'opening', ms: random.below(50) }
  const nth = 1 + random.below(CALLS_OF_OPENING)
  return { at: 'call', nth, moment: planMoment(random) }
}

function planMoment(random: Random): Moment {
  return random.pick(['before', 'half-way', 'after'])
}
