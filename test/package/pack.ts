/** Packs the project as npm does when it is published. */

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The project. */
export const ROOT = join(import.meta.dirname, '../..')

/** A packed project. */
interface Packed {
  /** The name of the file. */
  readonly filename: string
  /** Its size in bytes. */
  readonly size: number
  readonly files: readonly { readonly path: string }[]
}

/**
 * Packs the project into a directory.
 *
 * @param project its root, if this file is a compiled one
 */
export async function packInto(directory: string, project = ROOT): Promise<Packed> {
  const options = ['--json', '--ignore-scripts', '--pack-destination', directory]
  const { stdout } = await run('npm', ['pack', ...options], { cwd: project })
  const [packed] = JSON.parse(stdout) as [Packed]
  return packed
}
