/**
 * File systems that may lie on another machine, by the numbers that Linux gives to the types of
 * file systems. There a lock may not keep out a writer on another host, and a page of a mapping
 * that cannot be fetched ends the process.
 *
 * The number does not say everything. FUSE and 9p serve local disks as well as remote ones. What is
 * below an overlay cannot be seen. macOS and Windows do not number the types in this way.
 */

import { dirname } from 'node:path'
import { StoreError } from '../errors.ts'
import { errorCode, type Files } from './files.ts'

/** A type of file systems that may lie on another machine. */
export interface NetworkType {
  readonly name: string
  /** Whether it may serve a local disk, too. */
  readonly mayBeLocal: boolean
}

const NETWORK_TYPES: ReadonlyMap<number, NetworkType> = new Map([
  [0x6969, { name: 'NFS', mayBeLocal: false }],
  [0x517b, { name: 'SMB', mayBeLocal: false }],
  [0xff534d42, { name: 'CIFS', mayBeLocal: false }],
  [0xfe534d42, { name: 'SMB2', mayBeLocal: false }],
  [0x00c36400, { name: 'Ceph', mayBeLocal: false }],
  [0x01021997, { name: '9p', mayBeLocal: true }],
  [0x65735546, { name: 'FUSE', mayBeLocal: true }],
  [0x5346414f, { name: 'AFS', mayBeLocal: false }],
  [0x0bd00bd0, { name: 'Lustre', mayBeLocal: false }],
  [0x47504653, { name: 'GPFS', mayBeLocal: false }],
  [0x73757245, { name: 'Coda', mayBeLocal: false }],
  [0x564c, { name: 'NCP', mayBeLocal: false }],
])

/** The directories that were warned of. */
const warned = new Set<string>()

/**
 * Returns the type of file systems that a number of Linux's stands for, if such a file system may
 * lie on another machine; otherwise `undefined`.
 *
 * @param type a signed or an unsigned number of 32 bits
 */
export function networkType(type: number): NetworkType | undefined {
  return NETWORK_TYPES.get(type >>> 0)
}

/**
 * Returns the type of the file system in which a directory lies, or would be made, if that may be
 * on another machine. `undefined` if it is local, or if the system does not say.
 *
 * @param directory an absolute path
 */
export function networkTypeOf(files: Files, directory: string): NetworkType | undefined {
  for (let path = directory; ; path = dirname(path)) {
    try {
      const type = files.fileSystemType(path)
      return type === undefined ? undefined : networkType(type)
    } catch (error) {
      // What does not exist yet is made where the nearest directory above it is. If the system
      // refuses to say, nothing is known, and opening the directory shows what is wrong with it.
      if (errorCode(error) !== 'ENOENT' || path === dirname(path)) return undefined
    }
  }
}

/** Returns the error for a directory that is refused because it may be on another machine. */
export function notLocal(directory: string, type: NetworkType): StoreError {
  return new StoreError(
    'FIRKIN_NOT_LOCAL',
    `${directory} is on ${describeType(type)}; the option localOnly refuses it`,
  )
}

/** Warns, once for each directory, that it may be on another machine. */
export function warnOfNetwork(directory: string, type: NetworkType): void {
  if (warned.has(directory)) return
  warned.add(directory)
  const message =
    `${directory} is on ${describeType(type)}: a lock there may not keep out a writer on another host, and what ` +
    'is synced may not survive a power loss. Files are read by position, not through mappings'
  process.emitWarning(message, { code: 'FIRKIN_NOT_LOCAL' })
}

/** Describes a type in words. */
export function describeType({ name, mayBeLocal }: NetworkType): string {
  return `${name}, ${mayBeLocal ? 'which may be a network file system' : 'a network file system'}`
}
