/** The options that recovery uses. */

import type { ResolvedOptions } from '../options.ts'

/** The options that recovery uses. */
export type RecoveryOptions = Pick<
  ResolvedOptions<unknown>,
  | 'createIfMissing'
  | 'allowCache'
  | 'readOnly'
  | 'maxOpenFiles'
  | 'recovery'
  | 'keydir'
  | 'maxSegmentBytes'
  | 'reserveBytes'
  | 'mapping'
  | 'clock'
>

/** Returns the size of the mapping of an active segment; 0 for no mappings. */
export function mappingSize({ mapping, readOnly, maxSegmentBytes }: RecoveryOptions): number {
  return mapping && !readOnly ? maxSegmentBytes : 0
}
