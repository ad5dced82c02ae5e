/**
 * The system's lock on an open file, which ends with the file's last descriptor, and so with its
 * process.
 *
 * It is taken through `koffi` where that is installed, because that works in each runtime, and else
 * through `fs-native-extensions`. Both take the same lock: that of an open file description on
 * Linux (`F_OFD_SETLK`), `flock` on macOS. So they exclude each other.
 */

import { requirePackage } from '../packages.ts'
import type { FileDescriptor } from './files.ts'
import { type Koffi, loadKoffi } from './koffi.ts'

/** Takes a lock on all of an open file, or returns `false` if someone else holds one. */
export type TryLock = (file: FileDescriptor, options?: { readonly shared: boolean }) => boolean

/** The number of `F_OFD_SETLK`, and the fields of `struct flock`, on 64-bit Linux. */
const LINUX = { setLock: 37, read: 0, write: 1, structSize: 32 } as const
/** The flags of `flock`. */
const MACOS = { shared: 1, exclusive: 2, withoutWaiting: 4 } as const

let tryLock: TryLock | undefined

/**
 * Returns the function that takes locks, loaded when it is first needed.
 *
 * @throws if no package for it is installed, or may be loaded
 */
export function kernelLock(): TryLock {
  tryLock ??= load()
  return tryLock
}

function load(): TryLock {
  const koffi = loadKoffi()
  if (koffi !== undefined) return process.platform === 'linux' ? onLinux(koffi) : onMacos(koffi)
  const { tryLock } = requirePackage('fs-native-extensions') as { tryLock: TryLock }
  return tryLock
}

function onLinux(koffi: Koffi): TryLock {
  const { setLock, read, write, structSize } = LINUX
  const fcntl = koffi.load(null).func('int fcntl(int file, int command, ...)')
  // All other fields are zero: from the start of the file, and to wherever it ends.
  const lock = new Int16Array(structSize / 2)
  const bytes = new Uint8Array(lock.buffer)
  return (file, { shared } = { shared: false }) => {
    lock[0] = shared ? read : write
    return isTaken(koffi, fcntl(file, setLock, 'void *', bytes))
  }
}

function onMacos(koffi: Koffi): TryLock {
  const { shared, exclusive, withoutWaiting } = MACOS
  const flock = koffi.load(null).func('int flock(int file, int operation)')
  return (file, options = { shared: false }) =>
    isTaken(koffi, flock(file, (options.shared ? shared : exclusive) | withoutWaiting))
}

function isTaken(koffi: Koffi, result: number | bigint): boolean {
  if (result === 0) return true
  const code = process.getBuiltinModule('node:util').getSystemErrorName(-koffi.errno())
  if (code === 'EAGAIN' || code === 'EACCES') return false
  throw Object.assign(new Error(`the system refuses it: ${code}`), { code })
}
