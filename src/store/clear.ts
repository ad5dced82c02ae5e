/**
 * Clears a range of keys.
 *
 * 1. Collect. Copy the keys that the range has at the call.
 * 2. Delete. Delete those that nobody has put since, in batches.
 *
 * No view is open while keys are deleted, because every deleted key would be kept for it. Both
 * steps go in slices of time. A range of few keys takes one slice and one batch: all of them are
 * gone when the call returns.
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

/** The parts of a store that clearing needs. */
interface ClearedStore {
  readonly engine: Engine
  batch(): Deletes
  assertOpen(): void
}

/** The number of keys that are collected between two looks at the clock. */
const KEYS_PER_LOOK = 1024
/** The approximate size of a batch of deletes, in bytes. */
const BATCH_SIZE = 128 * 1024
const CHUNK_SIZE = 128 * 1024
const KEY_HEAD_SIZE = 2

/** Deletes the keys that a range has at the call; resolves to how many. */
export async function clearRange(store: ClearedStore, range: ResolvedRange): Promise<number> {
  const { engine } = store
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
      if (keys.count % KEYS_PER_LOOK === 0 && slice.isOver()) await nextSlice(store, slice)
    }
  } finally {
    engine.live.views.close(view)
  }

  let count = 0
  let batch = store.batch()
  // While nobody else writes, no key needs to be looked up again.
  let ownSequence = callSequence
  const commit = (): Promise<void> => {
    // Each delete takes a sequence, and so does the batch's end.
    ownSequence += batch.length + 1
    return batch.commit()
  }
  for (const key of keys) {
    if (engine.nextSequence !== ownSequence && !isOlder(engine, key, callSequence)) continue
    count++
    batch.delete(key)
    if (batch.byteSize < BATCH_SIZE) continue
    await commit()
    if (slice.isOver()) await nextSlice(store, slice)
    batch = store.batch()
  }
  await commit()
  return count
}

async function nextSlice(store: ClearedStore, slice: TimeSlice): Promise<void> {
  await slice.next()
  store.assertOpen()
}

/** Whether a key is there, with a record older than `sequence`. */
function isOlder(engine: Engine, key: Uint8Array, sequence: number): boolean {
  const nowMs = engine.moment()
  engine.key.encode(key)
  const entry = engine.lookup(nowMs)
  return entry !== NO_ENTRY && engine.keydir.entries.sequenceOf(entry) < sequence
}

/** Keys in the order in which they were added; packed, as objects would take far more memory. */
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

  /** Yields the keys, as views of the list's memory. */
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
