/**
 * Time, as Firkin takes it. Nothing else in `src` uses the process's timers or its monotonic clock.
 *
 * Tests fake time: they replace `Date`, the timers and `queueMicrotask`, and drop what waits in the fakes when they put
 * the real ones back. What expires goes by the faked clock: `Date` is looked up at each call. Writes, syncs and merges
 * must go on: the timers are taken once, when this file is loaded, and a microtask is a promise's reaction, which no
 * fake takes over.
 */

import { performance } from 'node:perf_hooks'
import {
  clearImmediate,
  clearInterval,
  clearTimeout,
  setImmediate,
  setInterval,
  setTimeout,
} from 'node:timers'

/** The timers as they were when this file was loaded. */
export const timers = {
  clearImmediate,
  clearInterval,
  clearTimeout,
  setImmediate,
  setInterval,
  setTimeout,
}

const settled = Promise.resolve()

/** The clock that expiry goes by where no other is given: milliseconds since 1970. */
export function systemClock(): number {
  return Date.now()
}

/** Milliseconds that only go forward, to tell how long something takes. */
export function monotonicMs(): number {
  return performance.now()
}

/** Resolves in a later turn of the event loop, so that other work gets its own before. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    timers.setImmediate(resolve)
  })
}

/** Who waits for a slice of the main thread, in order. */
const waiting: (() => void)[] = []

/**
 * Resolves in a later turn of the event loop, for work in slices: one slice of all that goes on in this thread gets a turn,
 * so that the slices of several stores do not add up.
 */
export function nextSlice(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve)
    if (waiting.length === 1) timers.setImmediate(giveSlice)
  })
}

function giveSlice(): void {
  waiting.shift()?.()
  if (waiting.length > 0) timers.setImmediate(giveSlice)
}

const nobody = new Int32Array(new SharedArrayBuffer(4))

/** Lets so many milliseconds pass, on return. */
export function pause(ms: number): void {
  Atomics.wait(nobody, 0, 0, ms)
}

/**
 * Settles as `work` does, in a later turn of the event loop. Where nothing else makes an asynchronous method wait for the
 * system, a loop that awaits it again and again would let no timer fire, and the collector give nothing back.
 */
export async function inLaterTurn<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } finally {
    await nextTurn()
  }
}

/** Does `work` when what runs now is over, in the same turn. What it throws is an uncaught exception. */
export function afterThis(work: () => void): void {
  void settled.then(() => {
    try {
      work()
    } catch (error) {
      timers.setImmediate(() => {
        throw error
      })
    }
  })
}
