/**
 * Work in steps that continues both while the event loop turns and while it does not.
 *
 * A task is a generator that yields what it waits for. Each wait is awaited, as in an asynchronous
 * function. A caller that keeps the event loop from turning does the steps in its own calls
 * instead, and each wait has the same result there. Once the loop turns, the task continues by
 * itself.
 *
 * Invariants
 * - A step is done once, whoever does it. If a wait ended in a call, its later result is ignored.
 * - No step begins while another step of the task is under way.
 */

import { nextSlice, nextTurn } from './time.ts'

/** Something that a task waits for. */
export interface Wait<T = unknown> {
  /** Resolves when the wait is over. Called while the event loop turns, at most once. */
  later(): Promise<T>
  /**
   * Ends the wait before it returns; returns `undefined` if it goes on elsewhere and nothing can be
   * done for it in this call.
   */
  now(): Outcome<T> | undefined
}

/** The result of a wait or a task. */
interface Outcome<T> {
  readonly value: T
}

/** A part of a task that returns `T`. */
export type Work<T> = Generator<Wait, T, unknown>

/** Waits in the middle of a task. */
export function* over<T>(wait: Wait<T>): Work<T> {
  return (yield wait) as T
}

/** Creates a wait for work that is done either by a promise or before `now` returns. */
export function either<T>(later: () => Promise<T>, now: () => T): Wait<T> {
  return { later, now: () => ({ value: now() }) }
}

/** A wait for the event loop to turn, if it does, and for other work to have its slices. */
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
  /** Whether the task waits for the event loop, to continue by itself. */
  #awaitsTurn = false

  constructor(work: Work<T>) {
    this.#work = work
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Callers that only look for the outcome learn of a failure there.
    this.promise.catch(() => {})
  }

  /** Whether the work is over. */
  get isOver(): boolean {
    return this.#outcome !== undefined
  }

  /** Returns the outcome; `undefined` if the work is not over. @throws what the work has thrown */
  look(): Outcome<T> | undefined {
    return this.#outcome && { value: this.#outcome() }
  }

  /**
   * Begins the work if it has not begun: goes up to the first wait, and from there by itself while
   * the event loop turns.
   */
  begin(): this {
    if (!this.#hasBegun) this.#first(false)
    return this
  }

  /** Does the next step in this call; returns whether there was something to do. */
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
