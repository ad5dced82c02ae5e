/**
 * Writes parts of the stage by threads.
 *
 * 1. Begin. A thread is handed a part of a page; its end is reported once the write has ended.
 * 2. If the writer cannot wait, it writes that part itself, or gives it up, and abandons the
 *    thread's write. The thread then writes the same bytes to the same place again, and is *late*.
 *
 * Invariant: while a thread is at its write, the page it writes from is not used again, and the
 * file it writes to stays open.
 */

import type { Page } from '../format/record.ts'
import { writeFullyLater } from '../io/files.ts'
import { nextTurn } from '../scheduling/time.ts'
import type { Segment } from './segment.ts'
import type { Segments } from './segments.ts'
import type { StagePages } from './stage-pages.ts'

/** A part of the stage, and where it belongs. */
interface StagePart {
  /** The segment after whose written bytes the page belongs. */
  readonly segment: Segment
  readonly page: Page
  /** Where in the page the part begins, and where it ends. */
  readonly from: number
  readonly end: number
  /** Whether the write may use the reserve if the disk is full. */
  readonly isFreeing: boolean
}

interface ThreadWrite {
  readonly page: Page
  isAbandoned: boolean
}

/** The writes by threads of one writer. */
export class ThreadWrites {
  readonly #segments: Segments
  readonly #pages: StagePages
  /** The write that is waited for. */
  #current: ThreadWrite | undefined
  /** The number of abandoned writes that have not ended. */
  #lateCount = 0

  constructor(segments: Segments, pages: StagePages) {
    this.#segments = segments
    this.#pages = pages
  }

  /** Whether there is a write that is waited for. */
  get isUnderWay(): boolean {
    return this.#current !== undefined
  }

  /** Whether an abandoned write has not ended. */
  get isLate(): boolean {
    return this.#lateCount > 0
  }

  /**
   * Begins to write a part of the stage; none may be under way.
   *
   * @param ended called when the write has ended, with its error if it failed; not called if it was
   *   abandoned
   */
  begin(part: StagePart, ended: (error?: unknown) => void): void {
    const write: ThreadWrite = { page: part.page, isAbandoned: false }
    this.#current = write
    this.#write(part).then(
      () => {
        if (this.#end(write)) ended()
      },
      (error: unknown) => {
        if (this.#end(write)) ended(error)
      },
    )
  }

  /** Waits no longer for the write under way, and leaves its page to the thread. */
  abandon(): void {
    const write = this.#current
    if (write === undefined) return
    this.#current = undefined
    write.isAbandoned = true
    this.#lateCount++
    this.#pages.leave(write.page)
  }

  /** Resolves when no thread writes any more. */
  async settle(): Promise<void> {
    while (this.isLate || this.isUnderWay) await nextTurn()
  }

  async #write({ segment, page, from, end, isFreeing }: StagePart): Promise<void> {
    const { reserve, context } = this.#segments
    const position = segment.writtenSize + from
    const file = segment.holdFile()
    try {
      for (let isDone = false; !isDone; ) {
        try {
          await writeFullyLater(context.files, file, page.bytes, from, end, position)
          isDone = true
        } catch (error) {
          if (!isFreeing || !reserve.giveUpFor(error)) throw error
        }
      }
    } finally {
      segment.releaseFile()
    }
  }

  /** Takes note that a write has ended; returns whether it was waited for. */
  #end(write: ThreadWrite): boolean {
    if (!write.isAbandoned) {
      this.#current = undefined
      return true
    }
    this.#lateCount--
    this.#pages.giveBack(write.page)
    return false
  }
}
