/** Test runners, which load modules in their own ways, and partly into realms of their own. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from './environments.ts'
import { IMPORTS, LIFE_CYCLE, REQUIRES } from './life-cycle.ts'
import { assertSeen, type Project } from './project.ts'

/** A test that writes what it saw to a file. */
const TEST = `
test('the life cycle', async () => {
  const seen = await lifeCycle('stores')
  process.getBuiltinModule('node:fs').writeFileSync('seen.json', JSON.stringify(seen))
}, 60000)
`
const JEST = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js'] as const

/** All test runners. */
export const RUNNERS: readonly Environment[] = [
  {
    name: 'jest-esm',
    about: 'Jest, with tests that are ES modules',
    inGate: false,
    async run(project) {
      await project.install('module', { jest: 'latest' })
      project.write({ 'life-cycle.test.js': IMPORTS + LIFE_CYCLE + TEST })
      await project.run(process.execPath, ...JEST)
      return report(project)
    },
  },
  {
    name: 'jest-cjs',
    about: 'Jest, with tests that require the package, on Node 26',
    inGate: false,
    async run(project) {
      await project.install('commonjs', { jest: 'latest' })
      project.write({ 'life-cycle.test.js': REQUIRES + LIFE_CYCLE + TEST })
      await project.run('npx', '-y', '-p', 'node@26', 'node', ...JEST)
      return report(project)
    },
  },
  ...['threads', 'forks', 'vmThreads', 'vmForks'].map(
    (pool): Environment => ({
      name: `vitest-${pool}`,
      about: `vitest, in its pool ${pool}`,
      inGate: false,
      async run(project) {
        await project.install('module', { vitest: 'latest' })
        const imports = "import { test } from 'vitest'\n"
        project.write({ 'life-cycle.test.js': imports + IMPORTS + LIFE_CYCLE + TEST })
        await project.run('npx', 'vitest', 'run', '--pool', pool)
        return report(project)
      },
    }),
  ),
]

/** Reads what the test saw. */
function report(project: Project): string {
  return assertSeen(readFileSync(join(project.directory, 'seen.json'), 'utf8'))
}
