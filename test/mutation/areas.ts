/** Lists the parts of the engine in which mutants are planted. */

/** A part of the engine in which mutants are planted, and the tests that should notice them. */
export interface Area {
  readonly name: string
  /** Source files, and folders of them, below `src`. */
  readonly sources: readonly string[]
  /**
   * Test files, and folders of them, below `test`, in stages. The quick and sensitive ones are
   * first.
   */
  readonly tests: readonly (readonly string[])[]
}

const WRITES = ['put', 'delete', 'batch', 'failed-group', 'group-commit', 'large-values', 'stats']
const QUICK = WRITES.map((name) => `store/${name}.test.ts`)

/** All areas. Each gets the same number of mutants. */
export const AREAS: readonly Area[] = [
  {
    name: 'engine',
    sources: [
      'engine/engine.ts',
      'engine/live-keydir.ts',
      'engine/keydir-changes.ts',
      'engine/retirement.ts',
      'engine/group-commit.ts',
      'engine/undo.ts',
    ],
    tests: [['engine/undo.test.ts', ...QUICK, 'model'], ['store'], ['recovery/fault.test.ts']],
  },
  {
    name: 'durability',
    sources: ['engine/durability.ts'],
    tests: [
      ['store/durability.test.ts', 'store/group-commit.test.ts'],
      ['store'],
      ['recovery/crash.test.ts'],
    ],
  },
  {
    name: 'view',
    sources: [
      'engine/views.ts',
      'engine/view-cursor.ts',
      'store/view-reader.ts',
      'engine/versions.ts',
      'engine/version-cursor.ts',
    ],
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
  {
    name: 'merge',
    sources: [
      'merge',
      'engine/merge.ts',
      'engine/merge-planner.ts',
      'engine/merge-run.ts',
      'engine/slice.ts',
    ],
    tests: [['merge'], ['model', 'store']],
  },
  {
    name: 'recovery',
    sources: [
      'recovery/load-keydir.ts',
      'recovery/recovery.ts',
      'recovery/replay.ts',
      'recovery/tail.ts',
    ],
    tests: [
      [
        'recovery/replay.test.ts',
        'recovery/torn-tail.test.ts',
        'recovery/regressions.test.ts',
        'store/open.test.ts',
      ],
      ['damage', 'salvage', 'recovery/preallocation.test.ts'],
      ['store', 'recovery/crash.test.ts'],
    ],
  },
  {
    name: 'cache',
    sources: ['cache/shelf.ts', 'cache/complete-order.ts', 'cache/tags.ts'],
    tests: [['cache/cache.test.ts', 'cache/deletion.test.ts', 'cache/crash.test.ts'], ['cache']],
  },
]
