/**
 * What the bench needs beside Firkin: its peers, and what draws its figures. They are installed into `bench/` the first
 * time that the bench runs, and never by the root package; so their types are written down here, as far as
 * they are used.
 */

import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The folder `bench/` of the checkout; this file runs from `dist/bench/`. */
export const BENCH_DIRECTORY = fileURLToPath(new URL('../../bench/', import.meta.url))

const peerRequire = createRequire(join(BENCH_DIRECTORY, 'package.json'))

/** Installs the peers where they are not there yet, or others are wanted. What npm says goes to the terminal. */
export function installPeers(): void {
  const changedMs = (name: string): number =>
    statSync(join(BENCH_DIRECTORY, name), { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (changedMs('node_modules/.package-lock.json') > changedMs('package-lock.json')) return
  console.error('Installing what Firkin is measured against, into bench/ (once) …')
  const { status } = spawnSync(
    'npm',
    ['ci', '--no-audit', '--no-fund', '--prefix', BENCH_DIRECTORY],
    {
      stdio: ['ignore', 2, 2],
    },
  )
  if (status !== 0) throw new Error('npm could not install the packages of bench/package.json')
}

/** Loads a package of `bench/`. */
export async function loadPeer<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(peerRequire.resolve(name)).href)) as T
}

/** The version of a package of `bench/`. */
export function peerVersion(name: string): string {
  const { version } = peerRequire(join(BENCH_DIRECTORY, 'node_modules', name, 'package.json')) as {
    version: string
  }
  return version
}
