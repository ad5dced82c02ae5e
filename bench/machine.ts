/** Describes the machine that figures are taken on. */

import { spawnSync } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'
import { peerVersion } from './peers.ts'

/** The machine, and the versions of everything that takes part. */
export interface Machine {
  readonly node: string
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly system: string
  readonly fileSystem: string
  readonly commit: string
  readonly peers: Readonly<Record<string, string>>
}

const PEER_NAMES = [
  'lmdb',
  'classic-level',
  'better-sqlite3',
  '@keyv/sqlite',
  'cacache',
  'lru-cache',
] as const

/** The magic numbers of file systems, as statfs(2) lists them. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlay'],
  [0x2fc12fc1, 'zfs'],
  [0x6969, 'nfs'],
  [0x1a, 'apfs'],
])

/** Describes this machine, with the file system of `directory`. */
export function describeMachine(directory: string): Machine {
  const processors = cpus()
  return {
    node: process.version,
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    system: `${type()} ${release()}`,
    fileSystem: fileSystemOf(directory),
    commit: commit(),
    peers: Object.fromEntries(PEER_NAMES.map((name) => [name, peerVersion(name)])),
  }
}

/** Renders the machine in one line. */
export function machineLine(machine: Machine): string {
  const { node, cpu, cores, memoryBytes, system, fileSystem, commit, peers } = machine
  const gibibytes = Math.round(memoryBytes / 2 ** 30)
  const versions = Object.entries(peers).map(([name, version]) => `${name} ${version}`)
  return [
    `Node ${node}`,
    `${cpu}, ${cores} cores, ${gibibytes} GiB`,
    system,
    fileSystem,
    `commit ${commit}`,
    ...versions,
  ].join(' · ')
}

function fileSystemOf(directory: string): string {
  const magic = statfsSync(directory).type
  return FILE_SYSTEMS.get(magic) ?? `file system 0x${magic.toString(16)}`
}

function commit(): string {
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync('git', args, { encoding: 'utf8' })
    return status === 0 ? stdout.trim() : undefined
  }
  const id = git('rev-parse', '--short', 'HEAD')
  if (id === undefined) return 'unknown'
  return git('status', '--porcelain', '--', 'src') === '' ? id : `${id} with changes`
}
