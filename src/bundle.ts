/**
 * Bundles the compiled files into the package: one file for each entry point, and the chunks that
 * they share, so that a class exists once. `npm run build` runs it after the compiler.
 *
 * - What an application must not miss when it is bundled itself is inside: the program of the merge
 *   thread, as text, and the packages that the engine and the tool are built with.
 * - What has native parts stays outside, and so do the peers, which applications bring themselves.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { type Plugin, rolldown } from 'rolldown'

/** The folder of the compiled files; this is one of them. */
const BUILT = join(import.meta.dirname, '..')

/** Packages that are imported from where an application has installed them. */
const PEERS = ['abstract-level', 'keyv', 'undici', 'unstorage']

/** The folder of a package, at the end of the part of a path that it matches. */
const PACKAGE = /^.*[\\/]node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)(?=[\\/])/

const build = await rolldown({
  input: {
    index: join(BUILT, 'src/index.js'),
    cache: join(BUILT, 'src/cache/cache.js'),
    keyv: join(BUILT, 'src/adapters/keyv.js'),
    'abstract-level': join(BUILT, 'src/adapters/abstract-level.js'),
    unstorage: join(BUILT, 'src/adapters/unstorage.js'),
    undici: join(BUILT, 'src/adapters/undici.js'),
    firkin: join(BUILT, 'tools/firkin.js'),
  },
  external: PEERS,
  platform: 'node',
  plugins: [builtIns(), threadText(), licenses()],
  // Reading what a module exports does nothing.
  treeshake: { propertyReadSideEffects: false },
})
await build.write({
  dir: join(BUILT, 'package'),
  cleanDir: true,
  format: 'esm',
  chunkFileNames: 'chunks/[name].js',
  codeSplitting: {
    // What stores and caches share; the other chunks have the name of their first module.
    groups: [{ name: 'engine', minShareCount: 3 }],
  },
  comments: { jsdoc: false },
  polyfillRequire: false,
  sourcemap: true,
})

/**
 * Reads what is imported from Node's own modules where it is, without modules made of them: these
 * have all that a module exports, loaded or not, and take longer to make than all of the engine.
 */
function builtIns(): Plugin {
  const prefix = '\0built-in:'
  return {
    name: 'built-ins',
    resolveId(id, _, { kind }) {
      if (!isBuiltin(id)) return null
      return `${prefix}${kind === 'require-call' ? 'required' : 'imported'}:${id}`
    },
    load: {
      filter: { id: /^\0built-in:/ },
      handler(id) {
        const [how, name = ''] = id.slice(prefix.length).split(/:(.*)/)
        const found = `process.getBuiltinModule(${JSON.stringify(name)})`
        if (how === 'required') return `module.exports = ${found}`
        const names = Object.keys(process.getBuiltinModule(name) as object)
        const exports = names.filter((each) => each !== 'default')
        const code = [
          `const exported = ${found}`,
          'export default exported',
          ...exports.map((each) => `export const ${each} = exported.${each}`),
        ].join('\n')
        return { code, moduleSideEffects: false }
      },
    },
  }
}

/** Puts the text of the merge thread's program in the place of `merge/thread-program.ts`. */
function threadText(): Plugin {
  return {
    name: 'thread-text',
    load: {
      filter: { id: /merge[\\/]thread-program\.js$/ },
      async handler() {
        const worker = await rolldown({
          input: join(BUILT, 'src/merge/worker.js'),
          platform: 'node',
        })
        // The text of a thread is a script, not a module.
        const { output } = await worker.generate({ format: 'cjs', comments: false })
        const [{ code }] = output
        return `export const threadProgram = { program: ${JSON.stringify(code)}, eval: true }`
      },
    },
  }
}

/** Writes the licences of the packages that became part of the bundle beside it. */
function licenses(): Plugin {
  const folders = new Map<string, string>()
  return {
    name: 'licenses',
    moduleParsed({ id }) {
      const [folder, name] = PACKAGE.exec(id) ?? []
      if (folder !== undefined && name !== undefined) folders.set(name, folder)
    },
    generateBundle() {
      const texts = [...folders].sort().map(([name, folder]) => `${name}\n\n${licenseOf(folder)}`)
      this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source: texts.join('\n\n\n') })
    },
  }
}

function licenseOf(folder: string): string {
  const name = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each))
  if (name === undefined) throw new Error(`There is no licence in ${folder}`)
  return readFileSync(join(folder, name), 'utf8').trim()
}
