/**
 * The program of the merge thread.
 *
 * This one starts the compiled file beside it. A package may not: whoever bundles an application
 * leaves that file behind, and may have a `worker.js` of their own. So in the package `bundle.ts`
 * puts another module in the place of this one, which holds the whole program as text.
 */

/** A program for a `Worker`: the URL of a file, or text to evaluate. */
interface ThreadProgram {
  readonly program: URL | string
  readonly eval: boolean
}

/**
 * The program. A thread cannot load TypeScript on Node 20, so from source the build's file is used.
 */
export const threadProgram: ThreadProgram = {
  program: new URL(
    import.meta.url.endsWith('.ts') ? '../../dist/src/merge/worker.js' : './worker.js',
    import.meta.url,
  ),
  eval: false,
}
