/**
 * The permissions of this process, if it runs with Node's permission model (`--permission`). That
 * refuses to sync files: a store then opens only if it promises nothing about a power loss, and
 * nothing is ever synced.
 */

import * as fs from 'node:fs'
import { StoreError } from '../errors.ts'

/** A descriptor that no process has open. */
const NO_FILE = 2 ** 31 - 1

let isSyncAllowed: boolean | undefined
let isWarned = false

/** Whether this process may sync files. */
export function maySync(): boolean {
  isSyncAllowed ??= process.permission === undefined || !isRefused(() => fs.fsyncSync(NO_FILE))
  return isSyncAllowed
}

/** Whether this process may load native add-ons. */
export function mayLoadAddons(): boolean {
  return process.permission === undefined || process.permission.has('addon')
}

/** @throws {@link StoreError} FIRKIN_NOT_PERMITTED if this process may not sync files */
export function assertMaySync(): void {
  if (maySync()) return
  throw new StoreError(
    'FIRKIN_NOT_PERMITTED',
    "Node's permission model refuses to sync files, so that nothing can be promised to survive a " +
      "power loss; open the store with sync: 'never', or run without the permission model",
  )
}

/** Warns, once, that nothing is synced, if this process may not sync files. */
export function warnIfUnsynced(): void {
  if (maySync() || isWarned) return
  isWarned = true
  const message =
    "Node's permission model refuses to sync files: what is stored survives its process, and not " +
    'a power loss'
  process.emitWarning(message, { code: 'FIRKIN_NOT_SYNCED' })
}

/** Returns whether the permission model refuses a call. */
function isRefused(call: () => void): boolean {
  try {
    call()
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_ACCESS_DENIED'
  }
}
