/**
 * The classes of the library `abstract-level`, once it is known to be a release that has them. Any
 * release may be installed beside Firkin, whether or not this adapter is used.
 */

import { createRequire } from 'node:module'
import type * as types from 'abstract-level'
import imported from 'abstract-level'

// With this type, no declaration needs the default import, which some compilers refuse.
const library: Omit<typeof types, 'default'> = imported

// Releases before the third have no snapshots.
if (library.AbstractSnapshot === undefined) {
  throw new Error(`firkin/abstract-level needs abstract-level 3; ${installed()} is installed`)
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

function installed(): string {
  try {
    const { version } = createRequire(import.meta.url)('abstract-level/package.json')
    return String(version)
  } catch {
    // A bundle has no packages.
    return 'an earlier one'
  }
}
