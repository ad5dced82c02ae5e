/** What a store shows, and what a damage takes away: told from its records alone, without the engine. */

import { type DumpedRecord, newestOf } from './damage.ts'

/** A key that shows something else than before, as `repair --json` reports it. */
export interface ModelledLoss {
  readonly key: NonNullable<DumpedRecord['key']>
  readonly sequence: number | null
  readonly rolledBackTo: number | null
}

/** The record that each key shows. */
export function shownBy(records: readonly DumpedRecord[]): Map<string, DumpedRecord> {
  return new Map([...newestOf(records)].filter(([, record]) => isShown(record)))
}

/**
 * The keys that show something else once some records are lost.
 *
 * @param byHint whether a hint knows the records; the checkpoint knows of a tombstone only what it had hidden
 */
export function lossesOf(
  records: readonly DumpedRecord[],
  lost: ReadonlySet<DumpedRecord>,
  byHint: (record: DumpedRecord) => boolean,
): ModelledLoss[] {
  const left = records.filter((record) => !lost.has(record))
  const [before, after] = [shownBy(records), shownBy(left)]
  const losses: ModelledLoss[] = []
  for (const [key, newest] of newestOf(records)) {
    if (!lost.has(newest) || newest.key === undefined) continue
    const now = after.get(key)
    if (before.get(key)?.sequence === now?.sequence) continue
    losses.push({
      key: newest.key,
      sequence: isShown(newest) || byHint(newest) ? newest.sequence : null,
      rolledBackTo: now?.sequence ?? null,
    })
  }
  return losses
}

function isShown({ kind, expiresAt }: DumpedRecord): boolean {
  return kind.endsWith('put') && (expiresAt === undefined || expiresAt > Date.now())
}
