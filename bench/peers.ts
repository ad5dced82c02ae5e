/**
 * Loads the packages that only the bench needs: Firkin's peers, and those that draw the figures.
 * They are installed into `bench/` by the first run of the bench, and never by the root package.
 * Therefore the files that use them declare the types that they need.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The folder `bench/` of the checkout. This file runs from `dist/bench/`. */
export const BENCH_DIRECTORY = fileURLToPath(new URL('../../bench/', import.meta.url))

interface LockFile {
  readonly packages: Readonly<
    Record<string, { version?: string; dependencies?: Record<string, string> }>
  >
}

const peerRequire = createRequire(join(BENCH_DIRECTORY, 'package.json'))

/**
 * Installs the peers if they are missing or their versions have changed. The output of npm goes to
 * the terminal. `npm ci` would refuse the lock file, which lacks the native packages of platforms
 * that the registry did not have.
 */
export function installPeers(): void {
  if (isInstalled()) return
  console.error('Installing what Firkin is measured against, into bench/ (once) …')
  const options = ['--no-save', '--no-audit', '--no-fund', '--prefix', BENCH_DIRECTORY]
  const { status } = spawnSync('npm', ['install', ...options], { stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error('npm could not install the packages of bench/package.json')
}

/** Whether the packages of bench/package.json are installed in the versions of its lock file. */
function isInstalled(): boolean {
  const { packages } = peerRequire('./package-lock.json') as LockFile
  return Object.keys(packages['']?.dependencies ?? {}).every(
    (name) => packages[`node_modules/${name}`]?.version === installedVersion(name),
  )
}

function installedVersion(name: string): string | undefined {
  const file = join(BENCH_DIRECTORY, 'node_modules', name, 'package.json')
  if (!existsSync(file)) return undefined
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** Returns the file of a package of `bench/`. */
export function peerFile(name: string): string {
  return peerRequire.resolve(name)
}

/** Loads a package of `bench/`. */
export async function loadPeer<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(peerFile(name)).href)) as T
}

/** Returns the version of a package of `bench/`. */
export function peerVersion(name: string): string {
  return installedVersion(name) ?? 'missing'
}
