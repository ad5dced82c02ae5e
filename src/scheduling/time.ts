/**
 * All access to time. Nothing else in `src` uses the process's timers or its monotonic clock.
 *
 * Tests may fake time: they replace `Date`, the timers and `queueMicrotask`, and drop
 * whatever waits in the fakes when they restore the real ones. Expiry follows the faked clock:
 * `Date` is looked up at each call. Writes, syncs and merges must go on. So the timers are captured
 * once, when this file is loaded, and a microtask is the reaction of a promise, which no fake
 * replaces.
 */

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

const { performance } = globalThis

const settled = Promise.resolve()

/** Returns milliseconds since 1970: the clock that expiry follows unless another one is given. */
export function systemClock(): number {
  return Date.now()
}

/** Returns milliseconds that only go forward, for measuring durations. */
export function monotonicMs(): number {
  return performance.now()
}

/** Resolves in a later turn of the event loop, so that other work runs before. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    timers.setImmediate(resolve)
  })
}

/** The resolvers of calls that wait for a slice of the main thread, in order. */
const waiting: (() => void)[] = []

/**
 * Resolves in a later turn of the event loop, for work in slices. All work in this thread shares
 * one slice for each turn, so that the slices of several stores do not add up.
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

/** Blocks the thread for `ms` milliseconds. */
export function pause(ms: number): void {
  Atomics.wait(nobody, 0, 0, ms)
}

/** Resolves after `ms` milliseconds. @throws the reason of `signal` if that fires first */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const abort = (): void => {
      timers.clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = timers.setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', abort, { once: true })
  })
}

/**
 * Settles as `work` does, in a later turn of the event loop. Without this, if nothing else makes an
 * asynchronous method wait for the system, a loop that awaits it repeatedly would let no timer fire
 * and keep the garbage collector from giving anything back.
 */
export async function inLaterTurn<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } finally {
    await nextTurn()
  }
}

/**
 * Does `work` after the code that runs now, in the same turn. What it throws is an uncaught
 * exception.
 */
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
