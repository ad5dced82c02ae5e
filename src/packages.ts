/**
 * Loads packages that may be missing, when they are first needed.
 *
 * In an application that was bundled to CommonJS, `import.meta.url` is not there: packages are then
 * searched for from the directory of the bundle.
 */

const base = import.meta.url ?? __filename

/**
 * Returns what a package exports.
 *
 * @throws if it is not installed, or cannot be loaded here
 */
export function requirePackage(name: string): unknown {
  return process.getBuiltinModule('node:module').createRequire(base)(name)
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
