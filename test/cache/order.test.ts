import { describe, expect, it } from 'vitest'
import { type CachePolicy, Order } from '../../src/cache/order.ts'
import { QUEUE_PAGE_SIZE } from '../../src/cache/queue.ts'
import { NO_ENTRY } from '../../src/keydir/keydir.ts'
import { Random } from '../support/random.ts'

/** Numbers of entries, at least five words apart as in a keydir. */
const entryOf = (index: number): number => 8 + index * 5

/** Each policy in its simplest form: a list from old to new. */
class Model {
  readonly #policy: CachePolicy
  #entries: number[] = []
  #visited = new Set<number>()
  #hand: number | undefined

  constructor(policy: CachePolicy) {
    this.#policy = policy
  }

  use(entry: number): void {
    if (!this.#entries.includes(entry)) this.#entries.push(entry)
    else if (this.#policy === 'sieve') this.#visited.add(entry)
    else if (this.#policy === 'lru') {
      this.#entries = [...this.#entries.filter((each) => each !== entry), entry]
    }
  }

  forget(entry: number): void {
    const place = this.#entries.indexOf(entry)
    if (place === -1) return
    if (this.#hand === entry) this.#hand = this.#entries[place + 1]
    this.#entries.splice(place, 1)
    this.#visited.delete(entry)
  }

  next(): number {
    if (this.#entries.length === 0) return NO_ENTRY
    let place = this.#hand === undefined ? 0 : this.#entries.indexOf(this.#hand)
    while (this.#visited.delete(this.#entries[place] as number)) {
      place = (place + 1) % this.#entries.length
    }
    const entry = this.#entries[place] as number
    if (this.#policy === 'sieve') this.#hand = this.#entries[place + 1]
    this.#entries.splice(place, 1)
    return entry
  }
}

describe.each(['sieve', 'lru', 'fifo'] as const)('the order %s', (policy) => {
  it('evicts what its model evicts, through random operations and restores', () => {
    const random = new Random(Number(process.env.SEED ?? 1))
    const model = new Model(policy)
    let order = new Order(policy)

    for (let step = 0; step < 20_000; step++) {
      const entry = entryOf(random.below(300))
      if (random.chance(0.7)) {
        order.use(entry)
        model.use(entry)
      } else if (random.chance(0.3)) {
        order.forget(entry)
        model.forget(entry)
      } else {
        expect(order.next(), `step ${step}`).toBe(model.next())
      }
      if (step % 1000 === 0) order = restored(order)
    }
  })

  it('has nothing to evict when it is empty', () => {
    const order = new Order(policy)
    order.use(entryOf(1))

    expect(order.next()).toBe(entryOf(1))
    expect(order.next()).toBe(NO_ENTRY)
    expect(order.knows(entryOf(1))).toBe(false)
  })

  it('is cleared and can be filled again after a page was lost', () => {
    const order = new Order(policy)
    for (let index = 0; index < 20_000; index++) order.use(entryOf(index))
    const damaged = restored(order, 2)

    let count = 0
    while (damaged.next() !== NO_ENTRY) count++

    expect(count).toBeLessThan(20_000)
    damaged.use(entryOf(5))
    expect(damaged.next()).toBe(entryOf(5))
  })
})

it('takes nine bytes a slot, and reads no page when it is restored', () => {
  const order = new Order('sieve')
  order.use(entryOf(10_000))
  let asked = 0

  const again = Order.restore(order.meta, () => {
    asked++
    return undefined
  })

  expect(QUEUE_PAGE_SIZE).toBe(9 * 4096)
  expect(again.byteSize).toBe(order.byteSize)
  expect(asked).toBe(0)
})

function restored(order: Order, missingPage = -1): Order {
  const pages = Array.from(order.pages(), (page) => Uint8Array.from(page))
  return Order.restore(order.meta, (page) => (page === missingPage ? undefined : pages[page]))
}
