/** Finds out which release of an optional package is installed. */

import { createRequire } from 'node:module'

/** Returns the version of a package; `undefined` if it cannot be found, as in a bundle. */
export function installedVersion(name: string): string | undefined {
  try {
    const { version } = createRequire(import.meta.url)(`${name}/package.json`)
    return String(version)
  } catch {
    return undefined
  }
}
