/** Explicit snapshots, and clearing the keys that one shows. */

import type { RangeOptions, Snapshot, Store } from '../../index.ts'
import { TimeSlice } from '../../scheduling/time-slice.ts'
import { AbstractSnapshot } from './library.ts'

/** The store under a database. */
export type LevelStore = Store<Buffer, 'buffer'>
/** A snapshot of that store. */
export type LevelView = Snapshot<Buffer, 'buffer'>

/** The size at which a `clear` with a snapshot commits a batch, in bytes. */
const CLEAR_BATCH_SIZE = 128 * 1024

/** A snapshot that a caller asked for. */
export class LevelSnapshot extends AbstractSnapshot {
  readonly view: LevelView

  constructor(view: LevelView, options: object) {
    // Safety: the constructor takes the options of `snapshot()`; its type leaves them out.
    super(...([options] as unknown as []))
    this.view = view
  }

  async _close(): Promise<void> {
    this.view.close()
  }
}

/** Deletes the keys that a view shows in a range, in batches and in time slices. */
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
