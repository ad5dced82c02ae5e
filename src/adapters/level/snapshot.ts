/** Snapshots that a caller makes, and clearing by one. */

import { AbstractSnapshot } from 'abstract-level'
import type { RangeOptions, Snapshot, Store } from '../../index.ts'
import { TimeSlice } from '../../scheduling/time-slice.ts'

/** The store beneath a database. */
export type LevelStore = Store<Buffer, 'buffer'>
/** A snapshot of it. */
export type LevelView = Snapshot<Buffer, 'buffer'>

/** `clear` with a snapshot goes in batches of about this size. */
const CLEAR_BATCH_SIZE = 128 * 1024

/** An explicit snapshot. */
export class LevelSnapshot extends AbstractSnapshot {
  readonly view: LevelView

  constructor(view: LevelView, options: object) {
    // Safety: the constructor takes the options of `snapshot()`, though it is typed without.
    super(...([options] as unknown as []))
    this.view = view
  }

  async _close(): Promise<void> {
    this.view.close()
  }
}

/** Deletes the keys that a range of a view has, in batches and in slices of time. */
export async function clearAsOf(
  view: LevelView,
  store: LevelStore,
  range: RangeOptions,
): Promise<void> {
  const slice = new TimeSlice()
  let batch = store.batch()
  for (const key of view.keys(range)) {
    batch.delete(key)
    const isOver = slice.isOver()
    if (batch.byteSize < CLEAR_BATCH_SIZE && !isOver) continue
    await batch.commit()
    if (isOver) await slice.next()
    batch = store.batch()
  }
  await batch.commit()
}
