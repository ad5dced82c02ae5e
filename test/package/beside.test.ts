/** The package beside other releases of the libraries that it has adapters for. */

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packInto } from './pack.ts'

const run = promisify(execFile)

let directory: string
let tarball: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'firkin-beside-'))
  const { filename } = await packInto(directory)
  tarball = join(directory, filename)
}, 60_000)

afterAll(() => rm(directory, { recursive: true, force: true }))

/** Makes a project that depends on the package and on others. */
async function makeProject(name: string, dependencies: Record<string, string>): Promise<string> {
  const project = join(directory, name)
  await mkdir(project)
  const all = { ...dependencies, firkin: `file:${tarball}` }
  const manifest = { private: true, type: 'module', dependencies: all }
  await writeFile(join(project, 'package.json'), JSON.stringify(manifest))
  return project
}

describe('the packed package', () => {
  it.each([
    ['former', { 'abstract-level': '1', keyv: '4', 'mmap-io': '1', undici: '6' }],
    ['other', { 'abstract-level': '2', keyv: '6', undici: '8', unstorage: '1' }],
    ['supported', { 'abstract-level': '3', keyv: '5', undici: '7', unstorage: '1' }],
  ])('installs beside %s releases of them: %o', { timeout: 120_000 }, async (name, libraries) => {
    const project = await makeProject(name, libraries)

    // Resolves everything, and writes only the lock file.
    const { stderr } = await run('npm', ['install', '--package-lock-only', '--no-audit'], {
      cwd: project,
    })

    expect(stderr).not.toContain('ERESOLVE')
  })

  it('says which abstract-level it needs, and which is there', { timeout: 120_000 }, async () => {
    const project = await makeProject('level', {})
    await run('npm', ['install', '--no-audit', '--no-fund'], { cwd: project })
    const library = join(project, 'node_modules/abstract-level')
    await mkdir(library)
    await writeFile(join(library, 'package.json'), '{ "version": "2.0.2", "main": "index.js" }')
    await writeFile(join(library, 'index.js'), 'exports.AbstractLevel = class {}')
    const program = "import('firkin/abstract-level').catch(({ message }) => console.log(message))"

    const { stdout } = await run(process.execPath, ['-e', program], { cwd: project })

    expect(stdout).toBe('firkin/abstract-level needs abstract-level 3; 2.0.2 is installed\n')
  })
})
