/**
 * The first bytes of every file of a store.
 *
 *   offset  size  field
 *        0     6  magic: "FIRKIN"
 *        6     1  file type: "S" segment, "H" hint, "M" manifest, "C" checkpoint, "R" reserve
 *        7     1  format version
 *        8    16  store id
 *       24     4  file id: the segment's id, or the generation of a manifest or checkpoint
 *       28     4  origin: 1 appended, 2 merged (segments and hints); 0 elsewhere
 *       32     4  id of the appended segment before this one (appended segments); 0 elsewhere
 *       36     4  the size of that segment when this one was begun
 *       40     4  CRC-32 of the 40 bytes before
 *
 * Invariant: a file whose header does not match its name and its store is not read further.
 */

import { viewOf } from './bytes.ts'
import { checksum } from './checksum.ts'

/** The newest format version. Earlier versions are read too. */
export const FORMAT_VERSION = 2

/** The size of a store's id. */
export const STORE_ID_SIZE = 16

const MAGIC = Buffer.from('FIRKIN', 'latin1')
const TYPE_SIZE = 1
const VERSION_SIZE = 1
const FILE_ID_SIZE = 4
const ORIGIN_SIZE = 4
const PREDECESSOR_ID_SIZE = 4
const PREDECESSOR_SIZE_SIZE = 4
const CRC_SIZE = 4

const TYPE_AT = MAGIC.length
const VERSION_AT = TYPE_AT + TYPE_SIZE
const STORE_ID_AT = VERSION_AT + VERSION_SIZE
const FILE_ID_AT = STORE_ID_AT + STORE_ID_SIZE
const ORIGIN_AT = FILE_ID_AT + FILE_ID_SIZE
const PREDECESSOR_ID_AT = ORIGIN_AT + ORIGIN_SIZE
const PREDECESSOR_SIZE_AT = PREDECESSOR_ID_AT + PREDECESSOR_ID_SIZE
const CRC_AT = PREDECESSOR_SIZE_AT + PREDECESSOR_SIZE_SIZE

/** The size of a file's header in bytes. */
export const FILE_HEADER_SIZE = CRC_AT + CRC_SIZE

/** The letter by which a header states the type of its file. */
const FILE_TYPES = {
  segment: 'S',
  hint: 'H',
  manifest: 'M',
  checkpoint: 'C',
  reserve: 'R',
} as const

/** The type of a file. */
export type FileType = keyof typeof FILE_TYPES

/**
 * The version in which each type of file is written: that of its last change. So a type that has
 * not changed since stays readable for releases that know no later version.
 */
const WRITTEN_VERSIONS: Readonly<Record<FileType, number>> = {
  segment: 1,
  hint: 1,
  manifest: 2,
  checkpoint: 1,
  reserve: 1,
}

/** The way a segment came into being: by writes, in the order of their sequences, or by a merge. */
export type Origin = 'appended' | 'merged' | 'none'
const ORIGINS: readonly Origin[] = ['none', 'appended', 'merged']

/** The segment that was active before another was begun, and its size at that time. */
export interface Predecessor {
  readonly id: number
  /** In bytes. */
  readonly size: number
}

/** The contents of a file header. */
export interface FileHeader {
  readonly type: FileType
  readonly storeId: Uint8Array
  /** The segment's id, or the generation of a manifest or checkpoint. */
  readonly fileId: number
  readonly origin: Origin
  /** Of an appended segment; `undefined` if it was the first one, and for other files. */
  readonly predecessor?: Predecessor | undefined
}

/** The reason why a header was not accepted. */
type HeaderFault =
  | { readonly fault: 'short' }
  | { readonly fault: 'damaged'; readonly offset: number }
  /** `newest` is the newest version of that type that can be read. */
  | { readonly fault: 'version'; readonly version: number; readonly newest: number }

/** Returns the header of a new file. */
export function encodeFileHeader(header: FileHeader): Buffer {
  const bytes = Buffer.alloc(FILE_HEADER_SIZE)
  MAGIC.copy(bytes)
  bytes.write(FILE_TYPES[header.type], TYPE_AT, 'latin1')
  bytes[VERSION_AT] = WRITTEN_VERSIONS[header.type]
  bytes.set(header.storeId, STORE_ID_AT)
  bytes.writeUInt32LE(header.fileId, FILE_ID_AT)
  bytes.writeUInt32LE(ORIGINS.indexOf(header.origin), ORIGIN_AT)
  bytes.writeUInt32LE(header.predecessor?.id ?? 0, PREDECESSOR_ID_AT)
  bytes.writeUInt32LE(header.predecessor?.size ?? 0, PREDECESSOR_SIZE_AT)
  bytes.writeUInt32LE(checksum(bytes, 0, CRC_AT, 0), CRC_AT)
  return bytes
}

/** Reads the header at the beginning of `bytes`. */
export function decodeFileHeader(bytes: Uint8Array): FileHeader | HeaderFault {
  if (bytes.length < FILE_HEADER_SIZE) return { fault: 'short' }
  if (!MAGIC.equals(bytes.subarray(0, MAGIC.length))) return { fault: 'damaged', offset: 0 }
  const view = viewOf(bytes)
  if (view.getUint32(CRC_AT, true) !== checksum(bytes, 0, CRC_AT, 0)) {
    // A newer format may lay out the rest of its header in another way, so that this CRC cannot
    // tell it from damage. The version is read only if the checksum confirms it.
    return { fault: 'damaged', offset: 0 }
  }
  const version = versionOf(bytes)
  const letter = String.fromCharCode(view.getUint8(TYPE_AT))
  const type = (Object.keys(FILE_TYPES) as FileType[]).find((name) => FILE_TYPES[name] === letter)
  const newest = type === undefined ? FORMAT_VERSION : WRITTEN_VERSIONS[type]
  if (version < 1 || version > newest) return { fault: 'version', version, newest }
  const origin = ORIGINS[view.getUint32(ORIGIN_AT, true)]
  if (type === undefined || origin === undefined) return { fault: 'damaged', offset: TYPE_AT }
  const predecessorId = view.getUint32(PREDECESSOR_ID_AT, true)
  const size = view.getUint32(PREDECESSOR_SIZE_AT, true)
  return {
    type,
    storeId: Uint8Array.prototype.slice.call(bytes, STORE_ID_AT, STORE_ID_AT + STORE_ID_SIZE),
    fileId: view.getUint32(FILE_ID_AT, true),
    origin,
    predecessor: predecessorId === 0 ? undefined : { id: predecessorId, size },
  }
}

/** Returns the version of a file whose header has been read. */
export function versionOf(bytes: Uint8Array): number {
  return viewOf(bytes).getUint8(VERSION_AT)
}

/** Returns the seed of every checksum after a file's header: the checksum of the store's id. */
export function storeSeed(storeId: Uint8Array): number {
  return checksum(storeId, 0, STORE_ID_SIZE, 0)
}
