/**
 * Random bytes. Few processes need any, so the module that makes them is loaded with the first: it
 * is the largest that the engine uses.
 */

/** Returns random bytes that nobody can predict. */
export function randomBytes(size: number): Buffer {
  return process.getBuiltinModule('node:crypto').randomBytes(size)
}
