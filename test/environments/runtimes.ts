/** Runtimes: other releases of Node, and others than Node. */

import type { Environment } from './environments.ts'
import { ASK, HOLD, IMPORTS, LIFE_CYCLE, MAIN, REQUIRES } from './life-cycle.ts'
import type { Project } from './project.ts'

/** A way to start a program: a command and the arguments before the program. */
type Command = readonly [command: string, ...args: string[]]

const NODE: Command = [process.execPath]

/** Other releases of Node. */
const NODES = ['22', '24', '26'].map(
  (release): Environment => ({
    name: `node-${release}`,
    about: `Node ${release}, by import and by require`,
    inGate: true,
    run: (project) => runNode(project, release),
  }),
)

/** Runtimes that are not Node. */
const OTHERS = (
  [
    ['bun', ['bun']],
    ['deno', ['deno', 'run', '--allow-all']],
  ] as const
).map(
  ([name, command]): Environment => ({
    name,
    about: 'the life cycle, and locks against Node in both directions',
    inGate: true,
    run: (project) => runOther(project, name, command),
  }),
)

/** All runtimes. */
export const RUNTIMES: readonly Environment[] = [...NODES, ...OTHERS]

async function runNode(project: Project, release: string): Promise<string> {
  await project.install('module')
  project.write({
    'main.mjs': IMPORTS + LIFE_CYCLE + MAIN,
    'main.cjs': REQUIRES + LIFE_CYCLE + MAIN,
  })
  const node: Command = ['npx', '-y', '-p', `node@${release}`, 'node']
  const reads = await project.expectLifeCycle(...node, 'main.mjs')
  await project.expectLifeCycle(...node, 'main.cjs')
  const version = await project.run(...node, '--version')
  return `${version.trim()}, ${reads}`
}

async function runOther(project: Project, name: string, [command, ...args]: Command) {
  await project.install('module')
  project.write({
    'main.mjs': IMPORTS + LIFE_CYCLE + MAIN,
    'hold.mjs': HOLD,
    'ask.mjs': ASK,
  })
  const path = (await project.run('npx', '-y', '-p', name, 'which', command)).trim()
  const other: Command = [path, ...args]
  const reads = await project.expectLifeCycle(...other, 'main.mjs')
  await expectExclusion(project, NODE, other)
  await expectExclusion(project, other, NODE)
  const [version] = (await project.run(path, '--version')).split('\n')
  return `${version}, ${reads}`
}

/** Asserts that the lock of one runtime keeps the other out, until it is given back. */
async function expectExclusion(project: Project, holder: Command, asker: Command): Promise<void> {
  const end = await project.start(...holder, 'hold.mjs', 'held')
  const refused = await project.run(...asker, 'ask.mjs', 'held')
  await end()
  const opened = await project.run(...asker, 'ask.mjs', 'held')
  if (refused.trim() !== 'FIRKIN_LOCKED' || opened.trim() !== 'opened') {
    throw new Error(`The lock of ${holder[0]} means to ${asker[0]}: ${refused}, then ${opened}`)
  }
}
