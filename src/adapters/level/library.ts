/**
 * The classes of the library `abstract-level`, once it is known to be a release that has them. Any
 * release may be installed beside Firkin, whether or not this adapter is used.
 */

import type * as types from 'abstract-level'
import imported from 'abstract-level'
import { installedVersion } from '../../packages.ts'

// With this type, no declaration needs the default import, which some compilers refuse.
const library: Omit<typeof types, 'default'> = imported

// Releases before the third have no snapshots.
if (library.AbstractSnapshot === undefined) {
  const version = installedVersion('abstract-level') ?? 'an earlier one'
  throw new Error(`firkin/abstract-level needs abstract-level 3; ${version} is installed`)
}

/** The classes that the adapter extends. */
export const {
  AbstractChainedBatch,
  AbstractIterator,
  AbstractKeyIterator,
  AbstractLevel,
  AbstractSnapshot,
  AbstractValueIterator,
} = library
