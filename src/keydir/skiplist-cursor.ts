import { type Entry, type KeyRange, NO_ENTRY } from './keydir.ts'
import { OrderedCursor } from './ordered-cursor.ts'
import type { SkiplistKeydir } from './skiplist.ts'
import { BASE, type Tower } from './towers.ts'

/** Walks the lowest level of a skip list. A gap is the tower before it. */
export class SkiplistCursor extends OrderedCursor {
  readonly #list: SkiplistKeydir
  #before: Tower = BASE
  #end: Tower = BASE

  constructor(list: SkiplistKeydir, range: KeyRange) {
    super(range)
    this.#list = list
    this.start()
  }

  protected override seek(key: Uint8Array, behind: boolean): void {
    this.#before = this.#list.seek(key, key.length, behind)
  }

  protected override seekEdge(last: boolean): void {
    this.#before = last ? this.#list.towers.previous(BASE) : BASE
  }

  protected override markEnd(): void {
    this.#end = this.#before
  }

  protected override stepForward(): Entry {
    if (this.#before === this.#end) return NO_ENTRY
    this.#before = this.#list.towers.next(this.#before, 0)
    return this.#list.towers.entry(this.#before)
  }

  protected override stepBackward(): Entry {
    if (this.#before === this.#end) return NO_ENTRY
    const entry = this.#list.towers.entry(this.#before)
    this.#before = this.#list.towers.previous(this.#before)
    return entry
  }
}
