/** A part of the engine that mutants are planted in, and the tests that should notice them. */
export interface Area {
  readonly name: string
  /** Source files, and folders of them, below `src`. */
  readonly sources: readonly string[]
  /** Test files, and folders of them, below `test`; the quick and telling ones first. */
  readonly tests: readonly string[]
}

/** Every area gets the same number of mutants. */
export const AREAS: readonly Area[] = [
  {
    name: 'engine',
    sources: ['engine.ts', 'group-commit.ts', 'undo.ts'],
    tests: ['store', 'model', 'recovery/fault.test.ts'],
  },
  { name: 'durability', sources: ['durability.ts'], tests: ['store', 'recovery/crash.test.ts'] },
  {
    name: 'view',
    sources: ['view.ts', 'view-cursor.ts', 'view-reader.ts', 'versions.ts', 'version-cursor.ts'],
    tests: ['store/views.test.ts', 'store', 'model'],
  },
  {
    name: 'segment',
    sources: ['segment'],
    tests: ['segment', 'store', 'recovery/crash.test.ts', 'recovery/fault.test.ts'],
  },
  { name: 'merge', sources: ['merge'], tests: ['merge', 'store', 'model'] },
  {
    name: 'recovery',
    sources: ['recovery.ts', 'replay.ts'],
    tests: ['recovery', 'replay.test.ts', 'store', 'damage'],
  },
  { name: 'cache', sources: ['cache/shelf.ts'], tests: ['cache'] },
]
