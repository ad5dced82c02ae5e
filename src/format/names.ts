/**
 * All file names of a store. Only this file creates and recognises them.
 *
 * A file whose name is not recognised does not belong to the store: it is never read and never
 * removed.
 */

/** The file whose replacement changes the set of segments. */
export const MANIFEST_NAME = 'MANIFEST'
/** The image of the keydir. */
export const CHECKPOINT_NAME = 'CHECKPOINT'
/** The file on which the kernel lock is held; its text names the holder. */
export const LOCK_NAME = 'LOCK'
/** The file that reserves space on the disk. */
export const RESERVE_NAME = 'RESERVE'

/* Files that a cache keeps besides those of its store. To the store they are foreign. */

/** The file that marks a directory as a cache's, and states how its values are stored. */
export const CACHE_MARKER_NAME = 'CACHE'
/** The file that keeps the order of a cache's entries. */
export const CACHE_ORDER_NAME = 'CACHE-ORDER'

/* Suffixes of files that a repair keeps. To the store they are foreign. */

/** Marks a file that was damaged. */
export const DAMAGED_SUFFIX = '.damaged'
/** Marks the bytes that were cut off a torn file. */
export const TORN_SUFFIX = '.torn'
/** Marks a file that belonged to no store. */
export const LEFTOVER_SUFFIX = '.leftover'

/** The directory that some file systems have at their root. */
const LOST_AND_FOUND = 'lost+found'
const SEGMENT_SUFFIX = '.segment'
const HINT_SUFFIX = '.hint'
const TEMPORARY_SUFFIX = '.tmp'
const ID_DIGITS = 10

/** The largest segment id; the keydir keeps ids in 31 bits. */
export const MAX_SEGMENT_ID = 2 ** 31 - 1

/** The type of a file in a store's directory, according to its name. */
type FileName =
  | { readonly type: 'manifest' | 'checkpoint' | 'lock' | 'reserve' | 'temporary' | 'foreign' }
  | { readonly type: 'segment' | 'hint'; readonly id: number }

/** Returns the name of a segment's file. */
export function segmentName(id: number): string {
  return idName(id) + SEGMENT_SUFFIX
}

/** Returns the name of the hint beside a segment. */
export function hintName(id: number): string {
  return idName(id) + HINT_SUFFIX
}

/**
 * Returns the name under which a file is written before it is renamed to `name`; `attempt`
 * distinguishes two writers.
 */
export function temporaryName(name: string, attempt: number): string {
  return `${name}.${attempt}${TEMPORARY_SUFFIX}`
}

/** Returns the type of a file, and the id of a segment or hint. */
export function parseName(name: string): FileName {
  if (name === MANIFEST_NAME) return { type: 'manifest' }
  if (name === CHECKPOINT_NAME) return { type: 'checkpoint' }
  if (name === LOCK_NAME) return { type: 'lock' }
  if (name === RESERVE_NAME) return { type: 'reserve' }
  if (name.endsWith(TEMPORARY_SUFFIX)) {
    return { type: renamed(name).type === 'foreign' ? 'foreign' : 'temporary' }
  }
  for (const [type, suffix] of [
    ['segment', SEGMENT_SUFFIX],
    ['hint', HINT_SUFFIX],
  ] as const) {
    if (!name.endsWith(suffix)) continue
    const digits = name.slice(0, -suffix.length)
    const id = Number(digits)
    if (/^\d{10}$/.test(digits) && id >= 1 && id <= MAX_SEGMENT_ID) return { type, id }
  }
  return { type: 'foreign' }
}

/** Whether a file with this name is to be renamed to a segment's. */
export function isTemporarySegment(name: string): boolean {
  return name.endsWith(TEMPORARY_SUFFIX) && renamed(name).type === 'segment'
}

/** Returns the type that a file with a temporary name is to have. */
function renamed(temporary: string): FileName {
  const attempt = temporary.slice(0, -TEMPORARY_SUFFIX.length).match(/^(.+)\.\d+$/)
  return parseName(attempt?.[1] ?? '')
}

/**
 * Whether these names include a manifest or a segment, so that their directory holds a store, whole
 * or not.
 */
export function holdsStore(names: readonly string[]): boolean {
  return names.some((name) => ['manifest', 'segment'].includes(parseName(name).type))
}

/** Returns the names in a directory that are not a store's, except dot files and `lost+found`. */
export function namesOfOthers(names: readonly string[]): string[] {
  return names.filter(
    (name) =>
      parseName(name).type === 'foreign' && !name.startsWith('.') && name !== LOST_AND_FOUND,
  )
}

/** Returns the ids of the segments among these names, ascending. */
export function segmentIdsOf(names: readonly string[]): number[] {
  return names
    .map((name) => parseName(name))
    .flatMap((parsed) => (parsed.type === 'segment' ? [parsed.id] : []))
    .sort((a, b) => a - b)
}

function idName(id: number): string {
  return String(id).padStart(ID_DIGITS, '0')
}
