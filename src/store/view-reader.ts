/** Reading through a view: what iterators and snapshots share. */

import { decodeValue, type Key } from '../engine/encoding.ts'
import type { Engine } from '../engine/engine.ts'
import type { ResolvedRange } from '../engine/range.ts'
import type { Wanted } from '../engine/read-ahead.ts'
import type { ViewCursor } from '../engine/view-cursor.ts'
import type { FoundEntry, View } from '../engine/views.ts'
import { type Entry, type EntryHolder, NO_ENTRY } from '../keydir/keydir.ts'
import type { KeyEncoding, ValueEncoding } from '../options.ts'
import { hasExpired } from '../segment/sweeps.ts'

/** How keys and values leave a store. */
export interface Encodings<V> {
  readonly keyEncoding: KeyEncoding
  readonly valueEncoding: ValueEncoding<V>
}

/** Which half of an entry is wanted. */
export type EntryPart = 'key' | 'value' | 'entry'

/** The type of a store's keys as iterators give them. */
export type KeyOf<E extends KeyEncoding> = E extends 'buffer' ? Buffer : string

/** Reads entries of one engine. */
export class ViewReader<V> {
  readonly #engine: Engine
  readonly #encodings: Encodings<V>
  readonly #found: FoundEntry

  constructor(engine: Engine, encodings: Encodings<V>) {
    this.#engine = engine
    this.#encodings = encodings
    this.#found = { holder: engine.keydir, entry: NO_ENTRY }
  }

  /** The value that a view shows for a key. */
  get(view: View, key: Key): V | undefined {
    const found = this.#find(view, key)
    return found === undefined ? undefined : this.value(found.holder, found.entry)
  }

  has(view: View, key: Key): boolean {
    return this.#find(view, key) !== undefined
  }

  /** The value of an entry; the record is read and verified. */
  value(holder: EntryHolder, entry: Entry): V {
    const engine = this.#engine
    engine.read(holder, entry)
    return decodeValue(this.#encodings.valueEncoding, engine, engine.valueAt)
  }

  /** The key of an entry, in memory of its own. */
  key(holder: EntryHolder, entry: Entry): string | Buffer {
    const { entries } = holder
    return this.#encodings.keyEncoding === 'utf8'
      ? entries.keyText(entry)
      : Buffer.from(entries.keyView(entry))
  }

  /** What of the entries of an iterator is worth reading ahead. */
  wanted(part: EntryPart): Wanted {
    return {
      records: part !== 'key',
      values: part !== 'key' && this.#engine.options.verifyReads,
      keyTexts: part !== 'value' && this.#encodings.keyEncoding === 'utf8',
    }
  }

  /** The wanted part of the entry that a cursor has just given. */
  part(part: EntryPart, cursor: ViewCursor, entry: Entry): unknown {
    if (part === 'key') return this.#keyAt(cursor, entry)
    if (part === 'value') return this.#valueAt(cursor, entry)
    return [this.#keyAt(cursor, entry), this.#valueAt(cursor, entry)]
  }

  #keyAt({ ahead, place, holder }: ViewCursor, entry: Entry): string | Buffer {
    const text = place < 0 ? undefined : this.#engine.readAhead.keyText(ahead, place)
    return text ?? this.key(holder, entry)
  }

  #valueAt({ ahead, place, holder }: ViewCursor, entry: Entry): V {
    const { readAhead } = this.#engine
    const start = place < 0 ? 0 : readAhead.valueStart(ahead, place)
    return start === 0
      ? this.value(holder, entry)
      : decodeValue(this.#encodings.valueEncoding, readAhead, start)
  }

  #find(view: View, key: Key): FoundEntry | undefined {
    const engine = this.#engine
    const found = this.#found
    engine.key.encode(key)
    if (!engine.live.findIn(view, engine.key.bytes, engine.key.size, found)) return undefined
    return hasExpired(found.holder.entries, found.entry, view.expiry) ? undefined : found
  }
}

/**
 * Iterates over a range of a view. `return`, the limit and the end close the view where it is the iterator's own;
 * so does the garbage collector, for an iterator that was left half-way.
 */
export class RangeIterator<T> implements IterableIterator<T> {
  readonly #engine: Engine
  readonly #reader: ViewReader<unknown>
  readonly #view: View
  readonly #ownsView: boolean
  readonly #part: EntryPart
  readonly #assertOpen: () => void
  readonly #cursor: ViewCursor
  #left: number
  #done = false

  constructor(
    engine: Engine,
    reader: ViewReader<unknown>,
    view: View | undefined,
    range: ResolvedRange,
    part: EntryPart,
    assertOpen: () => void,
  ) {
    this.#engine = engine
    this.#reader = reader
    this.#ownsView = view === undefined
    this.#view = view ?? engine.openView()
    this.#part = part
    this.#left = range.limit
    this.#assertOpen = assertOpen
    this.#cursor = engine.cursor(this.#view, range, reader.wanted(part))
    if (this.#ownsView) abandoned.register(this, { engine, view: this.#view }, this)
    if (range.limit === 0) this.return()
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<T> {
    if (this.#done) return { done: true, value: undefined }
    this.#assertOpen()
    const entry = this.#left > 0 ? this.#engine.live.advance(this.#cursor) : NO_ENTRY
    if (entry === NO_ENTRY) return this.return()
    this.#left--
    // Safety: whoever makes the iterator ties T to the part and the encodings.
    const value = this.#reader.part(this.#part, this.#cursor, entry) as T
    // Nobody may ask for more than the limit.
    if (this.#left === 0) this.return()
    return { done: false, value }
  }

  return(): IteratorResult<T> {
    if (!this.#done) {
      this.#done = true
      if (this.#ownsView) {
        this.#engine.live.views.close(this.#view)
        abandoned.unregister(this)
      }
    }
    return { done: true, value: undefined }
  }

  [Symbol.dispose](): void {
    this.return()
  }
}

const abandoned = new FinalizationRegistry<{ engine: Engine; view: View }>(({ engine, view }) =>
  engine.live.views.close(view),
)
