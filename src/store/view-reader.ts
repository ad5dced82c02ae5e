/** Reads through views, for iterators and snapshots. */

import { decodeValue, type Key } from '../engine/encoding.ts'
import type { Engine } from '../engine/engine.ts'
import type { ResolvedRange } from '../engine/range.ts'
import type { Wanted } from '../engine/read-ahead.ts'
import type { ViewCursor } from '../engine/view-cursor.ts'
import type { FoundEntry, View } from '../engine/views.ts'
import { type Entry, type EntryHolder, NO_ENTRY } from '../keydir/keydir.ts'
import type { KeyEncoding, ValueEncoding } from '../options.ts'
import { hasExpired } from '../segment/sweeps.ts'

/** The encodings in which a store returns keys and values. */
interface Encodings<V> {
  readonly keyEncoding: KeyEncoding
  readonly valueEncoding: ValueEncoding<V>
}

/** The wanted part of an entry. */
type EntryPart = 'key' | 'value' | 'entry'

/** The type in which iterators return a store's keys. */
export type KeyOf<E extends KeyEncoding> = E extends 'buffer' ? Buffer : string

/** @internal Reads entries of one engine. */
export class ViewReader<V> {
  readonly #engine: Engine
  readonly #encodings: Encodings<V>
  readonly #found: FoundEntry

  constructor(engine: Engine, encodings: Encodings<V>) {
    this.#engine = engine
    this.#encodings = encodings
    this.#found = { holder: engine.keydir, entry: NO_ENTRY }
  }

  /** Returns the value that a view shows for a key. */
  get(view: View, key: Key): V | undefined {
    const found = this.#find(view, key)
    return found === undefined ? undefined : this.value(found.holder, found.entry)
  }

  /** Returns whether a view shows a key. */
  has(view: View, key: Key): boolean {
    return this.#find(view, key) !== undefined
  }

  /** Returns the value of an entry. The record is read and verified. */
  value(holder: EntryHolder, entry: Entry): V {
    const engine = this.#engine
    engine.read(holder, entry)
    return decodeValue(this.#encodings.valueEncoding, engine, engine.valueAt)
  }

  /** Returns a copy of the key of an entry. */
  key(holder: EntryHolder, entry: Entry): string | Buffer {
    const { entries } = holder
    return this.#encodings.keyEncoding === 'utf8'
      ? entries.keyText(entry)
      : Buffer.from(entries.keyView(entry))
  }

  /** Returns which parts of an iterator's entries are worth reading ahead. */
  wanted(part: EntryPart): Wanted {
    return {
      records: part !== 'key',
      values: part !== 'key' && this.#engine.options.verifyReads,
      keyTexts: part !== 'value' && this.#encodings.keyEncoding === 'utf8',
    }
  }

  /** Returns the wanted part of the entry that a cursor has just returned. */
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
 * Iterates over a range of a view. A view of the iterator's own is closed by `return`, at the limit
 * and at the end. If the iterator is abandoned, the garbage collector closes it.
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

  /** @internal Made by the methods of stores and snapshots. */
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

  /** Returns the iterator itself; for `for … of`. */
  [Symbol.iterator](): this {
    return this
  }

  /**
   * Returns the next item.
   *
   * @throws {@link CorruptionError} if its record does not match its checksum
   * @throws {@link StoreError} FIRKIN_CLOSED, FIRKIN_READ_FAILED
   */
  next(): IteratorResult<T> {
    if (this.#done) return { done: true, value: undefined }
    this.#assertOpen()
    const entry = this.#left > 0 ? this.#engine.live.advance(this.#cursor) : NO_ENTRY
    if (entry === NO_ENTRY) return this.return()
    this.#left--
    // Safety: the store or snapshot that makes the iterator ties T to the part and the encodings.
    const value = this.#reader.part(this.#part, this.#cursor, entry) as T
    // The caller may never ask again after the limit.
    if (this.#left === 0) this.return()
    return { done: false, value }
  }

  /** Ends the iteration, and releases what the iterator shows. `for … of` calls it. */
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

  /** As {@link return}; for `using`. */
  [Symbol.dispose](): void {
    this.return()
  }
}

const abandoned = new FinalizationRegistry<{ engine: Engine; view: View }>(({ engine, view }) =>
  engine.live.views.close(view),
)
