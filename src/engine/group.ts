/** A group: the unit in which writes are written, and their promises settled. */

import type { StoreError } from '../errors.ts'

/** Writes that reach the operating system by one call, and settle together. */
export class Group {
  writeCount = 0
  byteCount = 0
  /** Whether it holds records that free space, so that it may use the reserve. */
  isFreeing = false
  /** Whether it settles later if writes are slowed. */
  readonly isSlowed: boolean
  #settled: PromiseWithResolvers<void> | undefined
  #isResolved = false

  constructor(isSlowed = true) {
    this.isSlowed = isSlowed
  }

  /** Settles with the group; made when it is first asked for. */
  get promise(): Promise<void> {
    if (this.#settled === undefined) {
      this.#settled = withResolvers()
      if (this.#isResolved) this.#settled.resolve()
    }
    return this.#settled.promise
  }

  resolve(): void {
    this.#isResolved = true
    this.#settled?.resolve()
  }

  reject(error: StoreError): void {
    this.#settled?.reject(error)
  }
}

interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void
}

function withResolvers(): PromiseWithResolvers<void> {
  let resolve: (() => void) | undefined
  let reject: ((reason: unknown) => void) | undefined
  const promise = new Promise<void>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve: () => resolve?.(), reject: (reason) => reject?.(reason) }
}
