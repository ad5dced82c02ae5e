/** Refuses memory to the code under test. */

import { watchAllocations } from '../../src/io/memory.ts'

/** The allocations that are refused, counted from the moment at which the refusal was set up. */
export interface Refusal {
  /** The number of the first refused allocation; the first of all is 1. */
  readonly nth: number
  /** Whether all later ones are refused too. */
  readonly lasting?: boolean
}

/** Refuses allocations as the runtime does, until it is disposed of. */
export class RefusedMemory {
  /** The number of allocations asked for. */
  asked = 0
  /** The number of those that were refused. */
  refused = 0

  constructor({ nth, lasting = false }: Refusal) {
    watchAllocations(() => {
      this.asked++
      if (this.asked < nth || (this.asked > nth && !lasting)) return
      this.refused++
      throw new RangeError('Array buffer allocation failed')
    })
  }

  [Symbol.dispose](): void {
    watchAllocations(undefined)
  }
}
