/** Package managers, and what they install. */

import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from './environments.ts'
import { IMPORTS, LIFE_CYCLE, MAIN } from './life-cycle.ts'
import type { Project } from './project.ts'

const PROGRAM = { 'main.mjs': IMPORTS + LIFE_CYCLE + MAIN }

/** The most packages, and megabytes, that an install may bring. */
const LIMITS = { packages: 25, megabytes: 12 } as const

/** All package managers. */
export const MANAGERS: readonly Environment[] = [
  {
    name: 'npm',
    about: `npm's defaults: at most ${LIMITS.packages} packages and ${LIMITS.megabytes} MB, no script, no warning`,
    inGate: true,
    async run(project) {
      await project.install('module')
      project.write(PROGRAM)
      await project.expectLifeCycle(process.execPath, 'main.mjs')
      return assertLight(project)
    },
  },
  {
    name: 'npm-ignore-scripts',
    about: 'npm with --ignore-scripts',
    inGate: false,
    async run(project) {
      await project.install('module', {}, '--ignore-scripts')
      project.write(PROGRAM)
      return await project.expectLifeCycle(process.execPath, 'main.mjs')
    },
  },
  {
    name: 'pnpm',
    about: 'pnpm, whose layout shows a package only what it depends on',
    inGate: false,
    async run(project) {
      project.declare('module')
      const printed = await project.run('npx', '-y', 'pnpm@10', 'install')
      if (/WARN|Ignored build scripts/.test(printed)) throw new Error(printed)
      project.write(PROGRAM)
      return await project.expectLifeCycle(process.execPath, 'main.mjs')
    },
  },
  {
    name: 'yarn-pnp',
    about: "yarn's Plug'n'Play, which has no node_modules",
    inGate: false,
    async run(project) {
      project.declare('module')
      project.write({ ...PROGRAM, 'yarn.lock': '' })
      const yarn = ['-y', '-p', '@yarnpkg/cli-dist@4', 'yarn'] as const
      await project.run('npx', ...yarn, 'install', '--no-immutable')
      return await project.expectLifeCycle('npx', ...yarn, 'node', 'main.mjs')
    },
  },
]

/** Asserts that what is installed keeps to the limits, and runs no script. */
function assertLight({ directory }: Project): string {
  const modules = join(directory, 'node_modules')
  const { packages } = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, { readonly hasInstallScript?: boolean }>>
  }
  const names = Object.keys(packages)
  const scripts = names.filter((name) => packages[name]?.hasInstallScript === true)
  const sizes = readdirSync(modules, { recursive: true, encoding: 'utf8' }).map(
    (path) => lstatSync(join(modules, path)).size,
  )
  const megabytes = sizes.reduce((sum, size) => sum + size, 0) / 1e6
  const figures = `${names.length} packages, ${megabytes.toFixed(1)} MB`
  if (scripts.length > 0) throw new Error(`It would run scripts of ${scripts.join(', ')}`)
  if (names.length > LIMITS.packages || megabytes > LIMITS.megabytes) {
    throw new Error(`It installs ${figures}`)
  }
  return figures
}
