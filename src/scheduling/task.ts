/**
 * Work in steps that goes on while the event loop turns, and while it does not.
 *
 * A task is a generator that yields what it waits for. Each wait is awaited, as in an asynchronous function. A caller that
 * keeps the event loop from turning does the steps in its own calls instead, and each wait comes to the same there; once
 * the loop turns, the task goes on by itself.
 *
 * Invariants
 * - A step is done once, whoever does it: what a wait brings later counts for nothing once it was over in a call.
 * - No step begins while another one of the task is under way.
 */

import { nextSlice, nextTurn } from './time.ts'

/** What a task waits for. */
export interface Wait<T = unknown> {
  /** Resolves when it is over; asked for while the event loop turns, at most once. */
  later(): Promise<T>
  /** Brings it about on return; `undefined` where it goes on elsewhere, and there is nothing to do for it here. */
  now(): Outcome<T> | undefined
}

/** What came of something. */
export interface Outcome<T> {
  readonly value: T
}

/** A part of a task that answers `T`. */
export type Work<T> = Generator<Wait, T, unknown>

/** Waits in the middle of a task. */
export function* over<T>(wait: Wait<T>): Work<T> {
  return (yield wait) as T
}

/** A wait for what is done by a promise, or on return. */
export function either<T>(later: () => Promise<T>, now: () => T): Wait<T> {
  return { later, now: () => ({ value: now() }) }
}

/** A wait for the event loop to turn, where it does, and for other work to have its slices. */
export const turn: Wait<void> = either(nextSlice, () => undefined)

/** Work that is under way. */
export class Task<T> {
  /** Settles when the work is over. */
  readonly promise: Promise<T>
  readonly #work: Work<T>
  #resolve: (value: T) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  #wait: Wait | undefined
  #hasBegun = false
  #outcome: (() => T) | undefined
  /** Whether the event loop is waited for, to go on by itself. */
  #awaitsTurn = false

  constructor(work: Work<T>) {
    this.#work = work
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Who only looks for the outcome hears of a failure there.
    this.promise.catch(() => {})
  }

  /** Whether the work is over. */
  get isOver(): boolean {
    return this.#outcome !== undefined
  }

  /** What came of it; `undefined` where it is not over. @throws what the work has thrown */
  look(): Outcome<T> | undefined {
    return this.#outcome && { value: this.#outcome() }
  }

  /** Goes up to the first wait, where it has not begun; by itself from there, where the event loop turns. */
  begin(): this {
    if (!this.#hasBegun) this.#first(false)
    return this
  }

  /** Does the next step in this call; whether there was something to do. */
  step(): boolean {
    if (!this.#hasBegun) {
      this.#first(true)
      return true
    }
    const wait = this.#wait
    if (wait === undefined) return false
    let outcome: Outcome<unknown> | undefined
    try {
      outcome = wait.now()
    } catch (error) {
      this.#goOn(() => this.#work.throw(error), true)
      return true
    }
    if (outcome === undefined) return false
    const { value } = outcome
    this.#goOn(() => this.#work.next(value), true)
    return true
  }

  #first(isInCall: boolean): void {
    this.#hasBegun = true
    this.#goOn(() => this.#work.next(), isInCall)
  }

  #goOn(step: () => IteratorResult<Wait, T>, isInCall: boolean): void {
    this.#wait = undefined
    let result: IteratorResult<Wait, T>
    try {
      result = step()
    } catch (error) {
      this.#outcome = () => {
        throw error
      }
      this.#reject(error)
      return
    }
    if (result.done === true) {
      const { value } = result
      this.#outcome = () => value
      this.#resolve(value)
      return
    }
    this.#wait = result.value
    if (!isInCall) this.#await(result.value)
    else if (!this.#awaitsTurn) this.#awaitTurn()
  }

  #await(wait: Wait): void {
    wait.later().then(
      (value) => {
        if (this.#wait === wait) this.#goOn(() => this.#work.next(value), false)
      },
      (error: unknown) => {
        if (this.#wait === wait) this.#goOn(() => this.#work.throw(error), false)
      },
    )
  }

  #awaitTurn(): void {
    this.#awaitsTurn = true
    void nextTurn().then(() => {
      this.#awaitsTurn = false
      if (this.#wait !== undefined) this.#await(this.#wait)
    })
  }
}
