import { createHash } from 'node:crypto'
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hintName, segmentName } from '../../src/format/names.ts'
import { systemFiles } from '../../src/io/files.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import type { JsonBytes } from '../../tools/entry.ts'
import { linesOf, run } from './run.ts'

/** A record as `dump --json` prints it. */
export interface DumpedRecord {
  readonly segment: number
  readonly offset: number
  readonly sequence: number
  readonly kind: string
  readonly key?: JsonBytes
  readonly value?: JsonBytes
  readonly expiresAt?: number
}

/** Returns the records of a store, in file order. */
export async function dumpOf(directory: string): Promise<DumpedRecord[]> {
  const { stdout } = await run(['dump', directory, '--json'])
  return linesOf(stdout).map((line) => JSON.parse(line))
}

/** Returns the newest record of each key, by the key as JSON. */
export function newestOf(records: readonly DumpedRecord[]): Map<string, DumpedRecord> {
  const newest = new Map<string, DumpedRecord>()
  for (const record of records) {
    if (record.key === undefined) continue
    const key = JSON.stringify(record.key)
    if ((newest.get(key)?.sequence ?? 0) < record.sequence) newest.set(key, record)
  }
  return newest
}

/** Returns the entries of a store of these records, as `export` prints them. */
export function entriesOf(records: readonly DumpedRecord[]): string[] {
  return [...newestOf(records).values()]
    .filter(({ kind, expiresAt }) => kind.endsWith('put') && !(expiresAt && expiresAt < Date.now()))
    .map(({ key, value, expiresAt }) => JSON.stringify({ key, value, expiresAt }))
    .sort()
}

/** Returns the entries of a store. */
export async function exportOf(directory: string): Promise<string[]> {
  const { stdout } = await run(['export', directory])
  return stdout === '' ? [] : linesOf(stdout).sort()
}

/** Returns a digest of every file except the lock, by name. */
export async function digestsOf(directory: string): Promise<Record<string, string>> {
  const digests: Record<string, string> = {}
  for (const name of (await readdir(directory)).sort()) {
    if (name === 'LOCK') continue
    digests[name] = createHash('sha256')
      .update(await readFile(join(directory, name)))
      .digest('hex')
  }
  return digests
}

/** Changes one bit of a file. */
export async function flip(path: string, offset: number, bit = offset % 8): Promise<void> {
  const bytes = await readFile(path)
  bytes[offset] = (bytes[offset] ?? 0) ^ (1 << bit)
  await writeFile(path, bytes)
}

/** The kinds of damage to a file. */
export const DAMAGES = {
  'cut to a third': async (path: string) =>
    truncate(path, Math.floor((await readFile(path)).length / 3)),
  emptied: (path: string) => truncate(path, 0),
  flipped: async (path: string) => flip(path, Math.floor((await readFile(path)).length / 2)),
  missing: (path: string) => rm(path),
} as const

/** Returns the files of a store, one of each kind. */
export function kindsOf(directory: string) {
  const manifest = readManifest(systemFiles, directory)
  const sealed = manifest?.segments[0]?.id ?? 0
  return {
    'a sealed segment': join(directory, segmentName(sealed)),
    'the active segment': join(directory, segmentName(manifest?.tailId ?? 0)),
    'a hint': join(directory, hintName(sealed)),
    'the manifest': join(directory, 'MANIFEST'),
    'the checkpoint': join(directory, 'CHECKPOINT'),
  }
}

export type FileKind = keyof ReturnType<typeof kindsOf>
export const FILE_KINDS: readonly FileKind[] = [
  'a sealed segment',
  'the active segment',
  'a hint',
  'the manifest',
  'the checkpoint',
]
