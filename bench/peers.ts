/**
 * What the bench needs beside Firkin: its peers, and what draws its figures. They are installed into `bench/` the first
 * time that the bench runs, and never by the root package; so their types are written down here, as far as
 * they are used.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The folder `bench/` of the checkout; this file runs from `dist/bench/`. */
export const BENCH_DIRECTORY = fileURLToPath(new URL('../../bench/', import.meta.url))

interface LockFile {
  readonly packages: Readonly<
    Record<string, { version?: string; dependencies?: Record<string, string> }>
  >
}

const peerRequire = createRequire(join(BENCH_DIRECTORY, 'package.json'))

/**
 * Installs the peers where they are not there yet, or other versions are wanted. What npm says goes to the terminal.
 * It is not `npm ci`: that refuses a lock file without the native packages of platforms that its registry lacked.
 */
export function installPeers(): void {
  if (isInstalled()) return
  console.error('Installing what Firkin is measured against, into bench/ (once) …')
  const options = ['--no-save', '--no-audit', '--no-fund', '--prefix', BENCH_DIRECTORY]
  const { status } = spawnSync('npm', ['install', ...options], { stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error('npm could not install the packages of bench/package.json')
}

/** Whether the packages that bench/package.json names are there in the versions that its lock file names. */
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

/** Loads a package of `bench/`. */
export async function loadPeer<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(peerRequire.resolve(name)).href)) as T
}

/** The version of a package of `bench/`. */
export function peerVersion(name: string): string {
  return installedVersion(name) ?? 'missing'
}
