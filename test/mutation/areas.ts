/** A part of the engine that mutants are planted in, and the tests that should notice them. */
export interface Area {
  readonly name: string
  /** Source files, and folders of them, below `src`. */
  readonly sources: readonly string[]
  /** Test files, and folders of them, below `test`, in stages: the quick and telling ones first. */
  readonly tests: readonly (readonly string[])[]
}

const WRITES = ['put', 'delete', 'batch', 'failed-group', 'group-commit', 'large-values', 'stats']
const QUICK = WRITES.map((name) => `store/${name}.test.ts`)

/** Every area gets the same number of mutants. */
export const AREAS: readonly Area[] = [
  {
    name: 'engine',
    sources: ['engine.ts', 'group-commit.ts', 'undo.ts'],
    tests: [['undo.test.ts', ...QUICK, 'model'], ['store'], ['recovery/fault.test.ts']],
  },
  {
    name: 'durability',
    sources: ['durability.ts'],
    tests: [
      ['store/durability.test.ts', 'store/group-commit.test.ts'],
      ['store'],
      ['recovery/crash.test.ts'],
    ],
  },
  {
    name: 'view',
    sources: ['view.ts', 'view-cursor.ts', 'view-reader.ts', 'versions.ts', 'version-cursor.ts'],
    tests: [
      ['store/views.test.ts', 'store/snapshot.test.ts', 'store/range.test.ts', 'model'],
      ['store'],
    ],
  },
  {
    name: 'segment',
    sources: ['segment'],
    tests: [
      ['segment', ...QUICK],
      ['store', 'merge'],
      ['recovery/crash.test.ts', 'recovery/fault.test.ts'],
    ],
  },
  { name: 'merge', sources: ['merge'], tests: [['merge'], ['model', 'store']] },
  {
    name: 'recovery',
    sources: ['recovery.ts', 'replay.ts'],
    tests: [
      [
        'replay.test.ts',
        'recovery/torn-tail.test.ts',
        'recovery/regressions.test.ts',
        'store/open.test.ts',
      ],
      ['damage', 'salvage.test.ts', 'recovery/room.test.ts'],
      ['store', 'recovery/crash.test.ts'],
    ],
  },
  {
    name: 'cache',
    sources: ['cache/shelf.ts'],
    tests: [['cache/cache.test.ts', 'cache/deletion.test.ts', 'cache/crash.test.ts'], ['cache']],
  },
]
