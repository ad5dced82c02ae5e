import { watchAllocations } from '../../src/io/memory.ts'

/** Which allocations are refused, counted from the moment at which the refusal was set up. */
export interface Refusal {
  /** Which is the first one; the first of all is 1. */
  readonly nth: number
  /** Whether all later ones are refused too. */
  readonly lasting?: boolean
}

/** Memory that is refused, as the runtime refuses it, until it is disposed of. */
export class RefusedMemory {
  /** How many allocations were asked for. */
  asked = 0
  /** How many of them were refused. */
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
