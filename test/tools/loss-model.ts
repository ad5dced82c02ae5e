/** A model of a store's entries and of the losses by damage, from records alone. */

import { type DumpedRecord, newestOf } from './damage.ts'

/** A key whose value has changed, as `repair --json` reports it. */
export interface ModelledLoss {
  readonly key: NonNullable<DumpedRecord['key']>
  readonly sequence: number | null
  readonly rolledBackTo: number | null
}

/** Returns the record of each key's value. */
export function shownBy(records: readonly DumpedRecord[]): Map<string, DumpedRecord> {
  return new Map([...newestOf(records)].filter(([, record]) => isShown(record)))
}

/**
 * Returns the keys whose value changes if some records are lost.
 *
 * @param byHint whether a hint lists the records; the checkpoint does not list tombstones
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
