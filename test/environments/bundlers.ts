/**
 * Bundlers: each makes an application of the package, with a worker.js beside it that must not run.
 */

import { spawn } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Environment } from './environments.ts'
import { IMPORTS, LIFE_CYCLE, MAIN } from './life-cycle.ts'
import { assertSeen, type Project } from './project.ts'

const PROGRAM = { 'main.mjs': IMPORTS + LIFE_CYCLE + MAIN }
/** The application's own worker. */
const DECOY = 'process.exit(99)'
const PORT = 38_417
const MOST_ASKS = 100

/** All bundlers. */
export const BUNDLERS: readonly Environment[] = [
  ...(['esm', 'cjs'] as const).map(
    (format): Environment => ({
      name: `esbuild-${format}`,
      about: `esbuild, to ${format === 'esm' ? 'an ES module' : 'CommonJS'}`,
      inGate: true,
      async run(project) {
        await project.install('module', { esbuild: 'latest' })
        project.write({ ...PROGRAM, 'out/worker.js': DECOY })
        const file = format === 'esm' ? 'out/main.mjs' : 'out/main.cjs'
        const options = ['--bundle', '--platform=node', `--format=${format}`, `--outfile=${file}`]
        await project.run('npx', 'esbuild', 'main.mjs', ...options)
        return await project.expectLifeCycle(process.execPath, file)
      },
    }),
  ),
  {
    name: 'webpack',
    about: 'webpack, for production',
    inGate: false,
    async run(project) {
      await project.install('module', { webpack: 'latest', 'webpack-cli': 'latest' })
      const config = `
        import { resolve } from 'node:path'
        export default {
          target: 'node20', mode: 'production', entry: './main.mjs',
          output: { path: resolve('out'), filename: 'main.cjs' },
        }`
      project.write({ ...PROGRAM, 'webpack.config.mjs': config, 'out/worker.js': DECOY })
      await project.run('npx', 'webpack')
      return await project.expectLifeCycle(process.execPath, 'out/main.cjs')
    },
  },
  {
    name: 'vite-ssr',
    about: 'a build of vite for a server, with everything inside',
    inGate: false,
    async run(project) {
      await project.install('module', { vite: 'latest' })
      const config = `
        export default {
          ssr: { noExternal: true },
          build: { ssr: 'main.mjs', outDir: 'out', emptyOutDir: false },
        }`
      project.write({ ...PROGRAM, 'vite.config.mjs': config, 'out/worker.js': DECOY })
      await project.run('npx', 'vite', 'build')
      return await project.expectLifeCycle(process.execPath, 'out/main.js')
    },
  },
  {
    name: 'next',
    about: "Next's standalone output, moved to another directory",
    inGate: false,
    run: runNext,
  },
]

async function runNext(project: Project): Promise<string> {
  await project.install('module', { next: 'latest', react: 'latest', 'react-dom': 'latest' })
  const route = `
    export const dynamic = 'force-dynamic'
    export async function GET() {
      return Response.json(await lifeCycle(process.env.STORES))
    }`
  project.write({
    'next.config.mjs': `export default {
      output: 'standalone',
      outputFileTracingIncludes: { '/**': ['node_modules/@koromix/**/*'] },
    }`,
    'app/layout.js':
      'export default function Layout({ children }) { return <html><body>{children}</body></html> }',
    'app/page.js': 'export default function Page() { return <p>Hello</p> }',
    'app/life-cycle/route.js': IMPORTS + LIFE_CYCLE + route,
  })
  await project.run('npx', 'next', 'build')
  // Nothing of the project may be found from there.
  const moved = `${project.directory}-moved`
  cpSync(join(project.directory, '.next/standalone'), moved, { recursive: true })
  const env = { ...process.env, PORT: String(PORT), STORES: join(moved, 'stores') }
  const server = spawn(process.execPath, ['server.js'], { cwd: moved, env, stdio: 'ignore' })
  try {
    return assertSeen(await ask(`http://localhost:${PORT}/life-cycle`))
  } finally {
    server.kill()
  }
}

/** Asks a server that is just starting. */
async function ask(url: string): Promise<string> {
  for (let count = 1; ; count++) {
    try {
      return await (await fetch(url)).text()
    } catch (error) {
      if (count === MOST_ASKS) throw error
      await setTimeout(100)
    }
  }
}
