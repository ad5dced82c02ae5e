/** The bound on open files. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OpenFiles, type Reopenable } from '../../src/segment/open-files.ts'

class PlayedFile implements Reopenable {
  usedAt = 0
  isOpen = false
  readonly #among: OpenFiles

  constructor(among: OpenFiles) {
    this.#among = among
  }

  use(): void {
    this.usedAt = this.#among.use()
    if (this.isOpen) return
    this.isOpen = true
    this.#among.opened(this)
  }

  rest(): void {
    this.isOpen = false
    this.#among.closed(this)
  }
}

describe('open files', () => {
  it('are those that were used last, up to the limit', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 60 }),
        (limit, uses) => {
          const among = new OpenFiles(limit)
          const files = Array.from({ length: 10 }, () => new PlayedFile(among))

          for (const index of uses) files[index]?.use()

          const last = [...new Set(uses.toReversed())].slice(0, limit).sort()
          const open = files.flatMap((file, index) => (file.isOpen ? [index] : []))
          expect(open).toEqual(last)
        },
      ),
    )
  })

  it('give up their places when they are closed', () => {
    const among = new OpenFiles(2)
    const [a, b, c] = [new PlayedFile(among), new PlayedFile(among), new PlayedFile(among)]
    a.use()
    b.use()

    a.rest()
    c.use()

    expect([a.isOpen, b.isOpen, c.isOpen]).toEqual([false, true, true])
  })
})
