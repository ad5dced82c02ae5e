/** The options of a store: their documentation, defaults and checks. */

import type { KeydirKind } from './format/keydir-kind.ts'
import { systemClock } from './scheduling/time.ts'

/**
 * When writes are synced, so that they survive a power loss. README.md lists what a settled write
 * survives with each.
 */
export type SyncOption =
  | 'always'
  | 'interval'
  | 'never'
  | {
      /** Sync once this many writes are not synced. */
      readonly everyWrites?: number
      /** Sync once this many bytes are not synced. */
      readonly everyBytes?: number
      /** Sync once a write has not been synced for this many milliseconds. */
      readonly everyMs?: number
    }

/** Converts values to bytes or text, and back. */
export interface ValueCodec<V> {
  /**
   * The codec's name, with its version, in up to 100 characters: a cache that was written with
   * another codec is emptied. Without a name, the source text of its functions identifies it.
   */
  readonly name?: string
  /** Returns what to store for a value. Bytes are copied before `put` returns. */
  encode(value: V): Uint8Array | string
  /** Returns the value of stored bytes. The codec owns `bytes`. */
  decode(bytes: Buffer): V
}

/** The encoding of values: as they are, as UTF-8 text, as JSON, or by a codec of your own. */
export type ValueEncoding<V> = 'buffer' | 'utf8' | 'json' | ValueCodec<V>

/** The encodings that return values of type `V`. */
export type ValueEncodingOf<V> =
  | 'json'
  | ValueCodec<V>
  | (Buffer extends V ? 'buffer' : never)
  | (string extends V ? 'utf8' : never)

/** The values that a store of `V` accepts: if values are bytes, any bytes, and text as UTF-8. */
export type ValueInput<V> = V | (Buffer extends V ? Uint8Array | string : never)

/** The form in which iterators return keys. Either form may be given as a key. */
export type KeyEncoding = 'utf8' | 'buffer'

/** The treatment of damage that is found when a store is opened. */
export type RecoveryMode = 'tail' | 'strict' | 'salvage'

/** When sealed segments are merged, and which. Sizes are in bytes; ratios are from 0 to 1. */
export interface MergeOptions {
  /**
   * Whether merging starts by itself.
   * @defaultValue true
   */
  readonly automatic?: boolean
  /**
   * A merge starts when this share of a sealed segment is dead.
   * @defaultValue 0.5
   */
  readonly triggerDeadRatio?: number
  /**
   * A merge starts when this many bytes of sealed segments are dead, whatever their share.
   * @defaultValue 512 MiB
   */
  readonly triggerDeadBytes?: number
  /**
   * A merge that starts includes every segment of which at least this share is dead.
   * @defaultValue 0.25
   */
  readonly thresholdDeadRatio?: number
  /**
   * A merge that starts includes every segment with at least this many dead bytes.
   * @defaultValue 64 MiB
   */
  readonly thresholdDeadBytes?: number
  /**
   * Segments smaller than this are small. A merge starts when there are 8 of them, and combines
   * them. At most half of `maxSegmentBytes`.
   * @defaultValue a sixteenth of `maxSegmentBytes`
   */
  readonly smallSegmentBytes?: number
  /**
   * The most bytes that one merge reads; a single segment may exceed it.
   * @defaultValue 4 GiB
   */
  readonly maxInputBytes?: number
  /**
   * The hours of the day, in local time, in which merges may start by themselves: `[from, to]`,
   * across midnight if `from` is higher. `undefined` means any time.
   * @defaultValue undefined
   */
  readonly window?: readonly [fromHour: number, toHour: number]
  /**
   * The most bytes that a merge reads per second; 0 means no limit.
   * @defaultValue 0
   */
  readonly maxBytesPerSecond?: number
  /**
   * The multiple of its live bytes that a store may take on disk, besides 4 segments. Writers that
   * outrun merges are slowed so that it takes no more: by 15 ms per mebibyte at that target, and by
   * up to 250 ms beyond it. They are slowed only for what a merge would free now, and only while
   * one may run. Merges allow `triggerDeadRatio` of each segment to be dead, so a value below
   * 1 / (1 - `triggerDeadRatio`) is raised to that. At least 1; `Infinity` slows nobody.
   * @defaultValue 3
   */
  readonly maxSpaceAmplification?: number
}

/**
 * The options of `open`: {@link StoreSettings}, of which `valueEncoding` may be missing only if
 * values can be bytes, and `keyEncoding` only if iterators may return text.
 */
export type StoreOptions<V = Buffer, E extends KeyEncoding = 'utf8'> = StoreSettings<V, E> &
  NeededValueEncoding<V> &
  ('utf8' extends E ? unknown : { readonly keyEncoding: E })

/** Demands an encoding for values of type `V`, unless they can be bytes, which need none. */
export type NeededValueEncoding<V> = Buffer extends V
  ? unknown
  : { readonly valueEncoding: ValueEncodingOf<V> }

/** The options of a store, each of which has a default. */
export interface StoreSettings<V = Buffer, E extends KeyEncoding = 'utf8'> {
  // Behaviour

  /**
   * Whether a store is created if there is none.
   * @defaultValue true
   */
  readonly createIfMissing?: boolean
  /**
   * Whether a store may be created in a directory that holds files of others. Dot files and
   * `lost+found` never matter, and an existing store is opened whatever else is there.
   * @defaultValue false
   */
  readonly allowNonEmpty?: boolean
  /**
   * Whether a cache's directory is opened, too. Reads then show entries as the cache stores them,
   * with bytes of its own before each value. What is put there is not an entry of the cache, and
   * may fail when the cache reads it.
   * @defaultValue false
   */
  readonly allowCache?: boolean
  /**
   * Whether a directory that may be on another machine is refused: one on NFS, SMB, 9p, FUSE or
   * another network file system, as far as the system says. Otherwise such a store is opened, and
   * a warning says what it lacks.
   * @defaultValue false
   */
  readonly localOnly?: boolean
  /**
   * Whether the store is opened beside a writer: it takes no lock and writes nothing.
   * @defaultValue false
   */
  readonly readOnly?: boolean
  /**
   * With `readOnly`: the interval in milliseconds at which to catch up with the writer; `true`
   * means 100. Without it, only `refresh()` catches up.
   * @defaultValue false
   */
  readonly follow?: boolean | number
  /**
   * The form in which iterators return keys. With `'utf8'`, a key that is not UTF-8 comes out with
   * replacement characters, and is not found by them.
   * @defaultValue 'utf8'
   */
  readonly keyEncoding?: E
  /**
   * The encoding of values.
   * @defaultValue 'buffer'
   */
  readonly valueEncoding?: ValueEncodingOf<V>
  /**
   * When writes are synced. More often is safer and slower.
   * @defaultValue 'interval'
   */
  readonly sync?: SyncOption
  /**
   * The interval of `sync: 'interval'`, in milliseconds.
   * @defaultValue 1000
   */
  readonly syncIntervalMs?: number
  /**
   * The treatment of damage found at open. `'tail'` cuts a torn tail and refuses anything else,
   * `'strict'` refuses a torn tail too, `'salvage'` keeps everything sound and reports what is not.
   * @defaultValue 'tail'
   */
  readonly recovery?: RecoveryMode
  /**
   * The time to live of a put that sets none, in milliseconds. 0 means forever, as do `Infinity`
   * and times beyond the format's limit, in the year 10889.
   * @defaultValue 0
   */
  readonly ttlMs?: number
  /**
   * Whether a kernel lock keeps out a second writer. Turn it off only on platforms without such a
   * lock: a second writer destroys the store.
   * @defaultValue true
   */
  readonly lock?: boolean
  /**
   * The time to wait for the lock of a process that is just ending, in milliseconds. 0 waits for
   * nobody.
   * @defaultValue 0
   */
  readonly lockWaitMs?: number
  /**
   * Ends the wait for the lock: `open` rejects with its reason.
   * @defaultValue undefined
   */
  readonly signal?: AbortSignal
  /**
   * The clock for expiry, in milliseconds since 1970. The default is looked up at each call, so
   * that a faked `Date` counts.
   * @defaultValue Date.now
   */
  readonly clock?: () => number

  // Performance

  /**
   * The index of the keydir: `'btree'` serves points and ranges; `'hash'` is the fastest for
   * points, and sorts on demand; `'skiplist'` and `'bplustree'` are ordered alternatives.
   * @defaultValue 'btree'
   */
  readonly keydir?: KeydirKind
  /**
   * The size beyond which a segment does not grow: it is sealed first. Larger segments mean fewer
   * files; smaller ones free space sooner. 64 KiB to 1 GiB.
   * @defaultValue 128 MiB
   */
  readonly maxSegmentBytes?: number
  /**
   * The disk space that is kept, in a file of its own, for what frees space on a full disk:
   * deletes, `clear`, merges and `close`. The file is filled soon after opening, if there is twice
   * as much space, and stays when the store is closed. 0 means none. Up to 1 GiB.
   * @defaultValue 4 MiB
   */
  readonly reserveBytes?: number
  /**
   * Whether sealed segments are read through memory mappings, if they are available and the file
   * system is local. Without them, a read is a call to the operating system, unless its block was
   * read before and is still kept.
   * @defaultValue true
   */
  readonly mapping?: boolean
  /**
   * The number of sealed segments that keep their files open; others are opened again when they are
   * read. A mapped segment needs no open file. A store that is open for writing has about ten more.
   * 1 to 1,000,000.
   * @defaultValue 128
   */
  readonly maxOpenFiles?: number
  /**
   * Whether each read verifies the checksum of its record.
   * @defaultValue true
   */
  readonly verifyReads?: boolean
  /**
   * Whether `close()` writes an image of the keydir, so that the next open takes constant time. It
   * takes about as much disk space as the keydir takes memory.
   * @defaultValue true
   */
  readonly checkpoint?: boolean
  /**
   * The longest interval between looks for expired keys, in milliseconds. If many expire the sweep
   * keeps up, in slices of 2 ms, for a third of the main thread's time at most.
   * @defaultValue 1000
   */
  readonly expiryIntervalMs?: number
  /** When and what to merge. */
  readonly merge?: MergeOptions
}

/** A {@link SyncOption} with every bound given; `Infinity` means never. */
export interface SyncPolicy {
  readonly everyWrites: number
  readonly everyBytes: number
  readonly everyMs: number
}

/** {@link MergeOptions} with every default applied. */
export interface MergePolicy {
  readonly automatic: boolean
  readonly triggerDeadRatio: number
  readonly triggerDeadBytes: number
  readonly thresholdDeadRatio: number
  readonly thresholdDeadBytes: number
  readonly smallSegmentBytes: number
  readonly maxInputBytes: number
  readonly window: readonly [number, number] | undefined
  readonly maxBytesPerSecond: number
  readonly maxSpaceAmplification: number
}

/** {@link StoreSettings} with every default applied. */
export interface ResolvedOptions<V> {
  readonly createIfMissing: boolean
  readonly allowNonEmpty: boolean
  readonly allowCache: boolean
  readonly localOnly: boolean
  readonly readOnly: boolean
  /** 0 if the store does not follow its writer by itself. */
  readonly followMs: number
  readonly keyEncoding: KeyEncoding
  readonly valueEncoding: ValueEncoding<V>
  readonly sync: SyncPolicy
  readonly recovery: RecoveryMode
  readonly ttlMs: number
  readonly lock: boolean
  readonly lockWaitMs: number
  readonly signal: AbortSignal | undefined
  readonly clock: () => number
  readonly keydir: KeydirKind
  readonly maxSegmentBytes: number
  readonly reserveBytes: number
  readonly mapping: boolean
  readonly maxOpenFiles: number
  readonly verifyReads: boolean
  readonly checkpoint: boolean
  readonly expiryIntervalMs: number
  readonly merge: MergePolicy
}

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const MAX_CODEC_NAME_LENGTH = 100
/** The largest delay that a timer accepts. */
const MAX_DELAY_MS = 2 ** 31 - 1
const NEVER = Number.POSITIVE_INFINITY

const DEFAULTS: Required<Omit<StoreSettings<unknown, KeyEncoding>, 'merge' | 'signal'>> = {
  createIfMissing: true,
  allowNonEmpty: false,
  allowCache: false,
  localOnly: false,
  readOnly: false,
  follow: false,
  keyEncoding: 'utf8',
  valueEncoding: 'buffer',
  sync: 'interval',
  syncIntervalMs: 1000,
  recovery: 'tail',
  ttlMs: 0,
  lock: true,
  lockWaitMs: 0,
  clock: systemClock,
  keydir: 'btree',
  maxSegmentBytes: 128 * MIB,
  reserveBytes: 4 * MIB,
  mapping: true,
  maxOpenFiles: 128,
  verifyReads: true,
  checkpoint: true,
  expiryIntervalMs: 1000,
}

const MERGE_DEFAULTS: Required<Omit<MergeOptions, 'window' | 'smallSegmentBytes'>> = {
  automatic: true,
  triggerDeadRatio: 0.5,
  triggerDeadBytes: 512 * MIB,
  thresholdDeadRatio: 0.25,
  thresholdDeadBytes: 64 * MIB,
  maxInputBytes: 4 * GIB,
  maxBytesPerSecond: 0,
  maxSpaceAmplification: 3,
}

/** The names of the options of {@link StoreSettings}. */
export const STORE_OPTION_NAMES: readonly string[] = [...Object.keys(DEFAULTS), 'merge', 'signal']

/** The options that are on or off. */
const SWITCHES = [
  'createIfMissing',
  'allowNonEmpty',
  'allowCache',
  'localOnly',
  'readOnly',
  'lock',
  'mapping',
  'verifyReads',
  'checkpoint',
] as const

const DEFAULT_FOLLOW_MS = 100

/**
 * Checks options and returns them with defaults applied: names first, then types, then ranges.
 *
 * @throws TypeError for an unknown name or a wrong type, RangeError for a number out of range
 */
export function resolveOptions<V, E extends KeyEncoding>(
  input: StoreSettings<V, E> = {},
): ResolvedOptions<V> {
  checkObject(input, 'Options')
  checkNames(input, STORE_OPTION_NAMES, 'option')
  const options = { ...DEFAULTS, ...dropUndefined(input) }

  for (const name of SWITCHES) checkType(options[name], 'boolean', name)
  checkType(options.clock, 'function', 'clock')
  checkChoice(options.keyEncoding, ['utf8', 'buffer'], 'keyEncoding')
  checkChoice(options.recovery, ['tail', 'strict', 'salvage'], 'recovery')
  checkChoice(options.keydir, ['btree', 'hash', 'skiplist', 'bplustree'], 'keydir')
  checkValueEncoding(options.valueEncoding)
  if (typeof options.follow !== 'boolean') {
    checkInteger(options.follow, 1, MAX_DELAY_MS, 'follow')
  }
  if (options.follow !== false && !options.readOnly) {
    throw new TypeError('Option follow needs readOnly')
  }
  if (options.recovery === 'salvage' && options.readOnly) {
    throw new TypeError("Option recovery 'salvage' writes; it excludes readOnly")
  }
  checkInteger(options.syncIntervalMs, 1, MAX_DELAY_MS, 'syncIntervalMs')
  if (options.ttlMs !== Number.POSITIVE_INFINITY) {
    checkInteger(options.ttlMs, 0, Number.MAX_VALUE, 'ttlMs')
  }
  checkInteger(options.lockWaitMs, 0, MAX_DELAY_MS, 'lockWaitMs')
  checkSignal(options.signal)
  checkInteger(options.maxSegmentBytes, 64 * KIB, GIB, 'maxSegmentBytes')
  checkInteger(options.reserveBytes, 0, GIB, 'reserveBytes')
  checkInteger(options.maxOpenFiles, 1, 1_000_000, 'maxOpenFiles')
  checkInteger(options.expiryIntervalMs, 1, MAX_DELAY_MS, 'expiryIntervalMs')

  return Object.freeze({
    createIfMissing: options.createIfMissing,
    allowNonEmpty: options.allowNonEmpty,
    allowCache: options.allowCache,
    localOnly: options.localOnly,
    readOnly: options.readOnly,
    followMs: options.follow === true ? DEFAULT_FOLLOW_MS : Number(options.follow),
    keyEncoding: options.keyEncoding,
    valueEncoding: options.valueEncoding as ValueEncoding<V>,
    sync: resolveSync(options.sync, options.syncIntervalMs),
    recovery: options.recovery,
    ttlMs: options.ttlMs,
    lock: options.lock,
    lockWaitMs: options.lockWaitMs,
    signal: options.signal,
    clock: options.clock,
    keydir: options.keydir,
    maxSegmentBytes: options.maxSegmentBytes,
    reserveBytes: options.reserveBytes,
    mapping: options.mapping,
    maxOpenFiles: options.maxOpenFiles,
    verifyReads: options.verifyReads,
    checkpoint: options.checkpoint,
    expiryIntervalMs: options.expiryIntervalMs,
    merge: resolveMerge(input.merge, options.maxSegmentBytes),
  })
}

function checkSignal(signal: unknown): void {
  if (signal === undefined) return
  // It may be of another realm.
  const { aborted, addEventListener } = Object(signal)
  if (typeof aborted === 'boolean' && typeof addEventListener === 'function') return
  throw new TypeError(`Option signal is ${shown(signal)}; it must be an AbortSignal`)
}

function resolveSync(sync: SyncOption, intervalMs: number): SyncPolicy {
  if (sync === 'always') return { everyWrites: 1, everyBytes: NEVER, everyMs: NEVER }
  if (sync === 'interval') return { everyWrites: NEVER, everyBytes: NEVER, everyMs: intervalMs }
  if (sync === 'never') return { everyWrites: NEVER, everyBytes: NEVER, everyMs: NEVER }
  if (typeof sync !== 'object' || sync === null) {
    throw new TypeError(
      `Option sync is ${String(sync)}; it must be one of always, interval, never, or an object`,
    )
  }
  const names = ['everyWrites', 'everyBytes', 'everyMs'] as const
  checkNames(sync, names, 'sync option')
  const policy = { everyWrites: NEVER, everyBytes: NEVER, everyMs: NEVER, ...dropUndefined(sync) }
  for (const name of names) {
    const limit = name === 'everyMs' ? MAX_DELAY_MS : Number.MAX_SAFE_INTEGER
    if (policy[name] !== NEVER) checkInteger(policy[name], 1, limit, `sync.${name}`)
  }
  if (names.every((name) => policy[name] === NEVER)) {
    throw new TypeError(`Option sync needs one of ${names.join(', ')}`)
  }
  return policy
}

function resolveMerge(input: MergeOptions = {}, maxSegmentBytes: number): MergePolicy {
  checkObject(input, 'Option merge')
  checkNames(input, [...Object.keys(MERGE_DEFAULTS), 'window', 'smallSegmentBytes'], 'merge option')
  const options = {
    ...MERGE_DEFAULTS,
    smallSegmentBytes: Math.floor(maxSegmentBytes / 16),
    ...dropUndefined(input),
  }
  checkType(options.automatic, 'boolean', 'merge.automatic')
  for (const name of ['triggerDeadRatio', 'thresholdDeadRatio'] as const) {
    const ratio = options[name]
    checkType(ratio, 'number', `merge.${name}`)
    if (!(ratio > 0 && ratio <= 1)) {
      throw new RangeError(`Option merge.${name} is ${ratio}; it must be above 0 and at most 1`)
    }
  }
  for (const name of [
    'triggerDeadBytes',
    'thresholdDeadBytes',
    'smallSegmentBytes',
    'maxInputBytes',
    'maxBytesPerSecond',
  ] as const) {
    // With a trigger of 0, merging would never end.
    const least = name === 'triggerDeadBytes' ? 1 : 0
    checkInteger(options[name], least, Number.MAX_SAFE_INTEGER, `merge.${name}`)
  }
  // Two segments above half of the maximum do not fit into one: combining them would gain nothing.
  if (options.smallSegmentBytes > maxSegmentBytes / 2) {
    throw new RangeError('Option merge.smallSegmentBytes is above half of maxSegmentBytes')
  }
  if (options.thresholdDeadRatio > options.triggerDeadRatio) {
    throw new RangeError('Option merge.thresholdDeadRatio is above merge.triggerDeadRatio')
  }
  const { maxSpaceAmplification } = options
  checkType(maxSpaceAmplification, 'number', 'merge.maxSpaceAmplification')
  if (!(maxSpaceAmplification >= 1)) {
    throw new RangeError(
      `Option merge.maxSpaceAmplification is ${maxSpaceAmplification}; it must be at least 1`,
    )
  }
  const { window } = input
  if (window !== undefined) {
    if (!Array.isArray(window) || window.length !== 2) {
      throw new TypeError('Option merge.window must be a pair of hours')
    }
    for (const hour of window) checkInteger(hour, 0, 24, 'merge.window')
    if (window[0] === window[1]) {
      throw new RangeError(`Option merge.window ends at ${window[1]}, where it begins`)
    }
  }
  const leastAmplification = 1 / (1 - options.triggerDeadRatio)
  return {
    ...options,
    maxSpaceAmplification: Math.max(maxSpaceAmplification, leastAmplification),
    window,
  }
}

function checkValueEncoding(encoding: ValueEncoding<never> | ValueEncoding<unknown>): void {
  if (typeof encoding === 'object' && encoding !== null) {
    checkType(encoding.encode, 'function', 'valueEncoding.encode')
    checkType(encoding.decode, 'function', 'valueEncoding.decode')
    const { name } = encoding
    if (name !== undefined && typeof name !== 'string') {
      throw new TypeError('Option valueEncoding.name must be a string')
    }
    if (name !== undefined && name.length > MAX_CODEC_NAME_LENGTH) {
      throw new RangeError(
        `Option valueEncoding.name has ${name.length} characters; ` +
          `the limit is ${MAX_CODEC_NAME_LENGTH}`,
      )
    }
  } else {
    checkChoice(encoding, ['buffer', 'utf8', 'json'], 'valueEncoding')
  }
}

/** @throws TypeError if `value` is not an object, or is an array */
export function checkObject(value: unknown, name: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`${name} must be an object`)
  }
}

/** @throws TypeError if `input` has a name that is not among `known` */
export function checkNames(input: object, known: readonly string[], what: string): void {
  for (const name of Object.keys(input)) {
    if (known.includes(name)) continue
    const near = known.find((candidate) => isNear(candidate, name))
    throw new TypeError(
      `Unknown ${what} ${name}${near === undefined ? '' : `; did you mean ${near}?`}`,
    )
  }
}

/** @throws TypeError or RangeError if `value` is not an integer from `low` to `high` */
export function checkInteger(value: unknown, low: number, high: number, name: string): void {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw new TypeError(`Option ${name} is ${shown(value)}; it must be an integer`)
  }
  if (value < low || value > high) {
    throw new RangeError(`Option ${name} is ${value}; it must be from ${low} to ${high}`)
  }
}

/** Shows a value that should be a number: text in quotes, because it may look like a number. */
export function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

/** @throws TypeError if `value` is of another type */
export function checkType(
  value: unknown,
  type: 'boolean' | 'function' | 'number',
  name: string,
): void {
  if (typeof value !== type) throw new TypeError(`Option ${name} must be a ${type}`)
}

/** @throws TypeError if `value` is not among `choices` */
export function checkChoice(value: unknown, choices: readonly string[], name: string): void {
  if (typeof value === 'string' && choices.includes(value)) return
  throw new TypeError(`Option ${name} is ${String(value)}; it must be one of ${choices.join(', ')}`)
}

function dropUndefined<T extends object>(input: T): T {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)) as T
}

/** Whether two names differ by case, or by one or two letters. */
function isNear(a: string, b: string): boolean {
  const left = a.toLowerCase()
  const right = b.toLowerCase()
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const next = [i]
    for (let j = 1; j <= right.length; j++) {
      const change = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return (row[right.length] ?? 0) <= 2
}
