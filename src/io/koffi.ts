/**
 * Loads the package `koffi`, which calls functions of the C library. Its native part is prebuilt
 * for each platform, in separate packages; only that of this platform is used.
 */

import { requirePackage } from '../packages.ts'

/** A function of the C library. */
export interface NativeFunction {
  (...args: (number | bigint | string | Uint8Array)[]): number | bigint
  async(...args: [...(number | bigint)[], (error: unknown, result: number | bigint) => void]): void
}

/** An address, as the package returns it: a number if it is a safe integer. */
export type Address = number | bigint

/** The part of the package that is used. */
export interface Koffi {
  load(path: null): { func(prototype: string): NativeFunction }
  view(address: Address, size: number): ArrayBuffer
  errno(): number
}

const PLATFORMS: readonly string[] = ['linux', 'darwin']

let koffi: Koffi | undefined
let isLoaded = false

/**
 * Returns the package, loaded when it is first needed; `undefined` if it is not installed, or does
 * not work on this platform.
 */
export function loadKoffi(): Koffi | undefined {
  if (!isLoaded) {
    isLoaded = true
    koffi = PLATFORMS.includes(process.platform) ? load() : undefined
  }
  return koffi
}

function load(): Koffi | undefined {
  try {
    return requirePackage(`@koromix/koffi-${process.platform}-${process.arch}`) as Koffi
  } catch {
    // It is missing on other processors, and if optional packages are not installed.
    return undefined
  }
}
