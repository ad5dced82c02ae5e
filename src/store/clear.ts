/**
 * Clearing a range of keys.
 *
 * 1. Collect. The keys of the range, as of the call, are copied.
 * 2. Delete. Those that nobody has put since are deleted, in batches.
 *
 * No view is open while keys are deleted: each of them would be kept for it. Both steps go in slices of time, but for
 * a range of few keys: all of it is gone when the call returns, by one batch.
 */

import type { Engine } from '../engine/engine.ts'
import type { ResolvedRange } from '../engine/range.ts'
import { allocateOwnBuffer } from '../io/memory.ts'
import { NO_ENTRY } from '../keydir/keydir.ts'
import { TimeSlice } from '../scheduling/time-slice.ts'

/** A batch that is being filled. */
interface Deletes {
  readonly length: number
  readonly byteSize: number
  delete(key: Uint8Array): unknown
  commit(): Promise<void>
}

/** What clearing needs of the store. */
export interface ClearedStore {
  readonly engine: Engine
  batch(): Deletes
  assertOpen(): void
}

/** The clock is looked at each time so many keys were collected. */
const KEYS_PER_LOOK = 1024
/** Keys are deleted in batches of about so many bytes. */
const BATCH_SIZE = 128 * 1024
const CHUNK_SIZE = 128 * 1024
const KEY_HEAD_SIZE = 2

/** Deletes the keys that a range has at the moment of the call; answers how many. */
export async function clearRange(home: ClearedStore, range: ResolvedRange): Promise<number> {
  const { engine } = home
  const slice = new TimeSlice()
  const keys = new KeyList()
  const view = engine.openView()
  const callSequence = engine.nextSequence
  try {
    const cursor = engine.cursor(view, range)
    while (keys.count < range.limit) {
      const entry = engine.live.advance(cursor)
      if (entry === NO_ENTRY) break
      keys.add(cursor.holder.entries.keyView(entry))
      if (keys.count % KEYS_PER_LOOK === 0 && slice.isOver()) await nextSlice(home, slice)
    }
  } finally {
    engine.live.views.close(view)
  }

  let count = 0
  let batch = home.batch()
  // As long as nobody else writes, no key needs to be looked up again.
  let ownSequence = callSequence
  const commit = (): Promise<void> => {
    // One for each delete, and one for the batch's end.
    ownSequence += batch.length + 1
    return batch.commit()
  }
  for (const key of keys) {
    if (engine.nextSequence !== ownSequence && !isOlder(engine, key, callSequence)) continue
    count++
    batch.delete(key)
    if (batch.byteSize < BATCH_SIZE) continue
    await commit()
    if (slice.isOver()) await nextSlice(home, slice)
    batch = home.batch()
  }
  await commit()
  return count
}

async function nextSlice(home: ClearedStore, slice: TimeSlice): Promise<void> {
  await slice.next()
  home.assertOpen()
}

/** Whether a key is there, by a record older than `sequence`. */
function isOlder(engine: Engine, key: Uint8Array, sequence: number): boolean {
  const nowMs = engine.moment()
  engine.key.encode(key)
  const entry = engine.lookup(nowMs)
  return entry !== NO_ENTRY && engine.keydir.entries.sequenceOf(entry) < sequence
}

/** Keys in the order in which they were added, packed: an object for each would take a multiple. */
class KeyList {
  count = 0
  readonly #chunks: Chunk[] = []

  add(key: Uint8Array): void {
    const size = KEY_HEAD_SIZE + key.length
    let chunk = this.#chunks.at(-1)
    if (chunk === undefined || chunk.size + size > CHUNK_SIZE) {
      chunk = { bytes: allocateOwnBuffer(CHUNK_SIZE), size: 0 }
      this.#chunks.push(chunk)
    }
    chunk.bytes.writeUInt16LE(key.length, chunk.size)
    chunk.bytes.set(key, chunk.size + KEY_HEAD_SIZE)
    chunk.size += size
    this.count++
  }

  /** Gives the keys, as views. */
  *[Symbol.iterator](): Generator<Uint8Array, void> {
    for (const { bytes, size } of this.#chunks) {
      for (let at = 0; at < size; ) {
        const start = at + KEY_HEAD_SIZE
        at = start + bytes.readUInt16LE(at)
        yield bytes.subarray(start, at)
      }
    }
  }
}

interface Chunk {
  readonly bytes: Buffer
  size: number
}
