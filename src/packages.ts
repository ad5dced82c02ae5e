/**
 * Loads packages that may be missing, when they are first needed.
 *
 * They are searched for from this file, and then from the script that the process was started with:
 * a bundler moves this file, or names the place where it was when it was bundled.
 */

/**
 * Returns what a package exports.
 *
 * @throws if it is not installed, or cannot be loaded here
 */
export function requirePackage(name: string): unknown {
  const { createRequire } = process.getBuiltinModule('node:module')
  try {
    // A bundle in CommonJS has no `import.meta`.
    return createRequire(import.meta.url ?? __filename)(name)
  } catch (error) {
    const script = process.argv[1]
    if (script === undefined || !isMissing(error)) throw error
    try {
      return createRequire(script)(name)
    } catch (laterError) {
      throw isMissing(laterError) ? error : laterError
    }
  }
}

/** Returns the version of a package; `undefined` if it cannot be found, as in a bundle. */
export function installedVersion(name: string): string | undefined {
  try {
    const { version } = requirePackage(`${name}/package.json`) as { version: unknown }
    return String(version)
  } catch {
    return undefined
  }
}

/** Whether a package was not found, or the place to search for it from is none. */
function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'MODULE_NOT_FOUND' || code === 'ERR_INVALID_ARG_VALUE'
}
