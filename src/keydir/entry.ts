/** Numbers of entries. They lie below both the entries and the contract of keydirs. */

/** The number of an entry in its `Entries` (entries.ts), or {@link NO_ENTRY}. */
export type Entry = number

/** Returned if there is no such entry. */
export const NO_ENTRY = 0
