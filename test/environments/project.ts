/** A project in a temporary directory that has the packed package installed. */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { EXPECTED } from './life-cycle.ts'

const execute = promisify(execFile)

/** The time that a command may take, in milliseconds. */
const TIMEOUT_MS = 300_000

/** A project. */
export class Project {
  readonly directory: string
  readonly #tarball: string

  constructor(directory: string, tarball: string) {
    this.directory = directory
    this.#tarball = tarball
    mkdirSync(directory, { recursive: true })
    this.write({ 'package.json': this.#manifest('module', {}) })
  }

  /** Writes files, by their paths below the project. */
  write(files: Readonly<Record<string, string>>): void {
    for (const [path, text] of Object.entries(files)) {
      const file = join(this.directory, path)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, text)
    }
  }

  /** Installs the package with npm, and others beside it. */
  async install(
    type: 'module' | 'commonjs',
    dependencies: Readonly<Record<string, string>> = {},
    ...flags: readonly string[]
  ): Promise<void> {
    this.declare(type, dependencies)
    await this.run('npm', 'install', '--no-audit', '--no-fund', ...flags)
  }

  /** Writes the manifest alone, for another package manager. */
  declare(type: 'module' | 'commonjs', dependencies: Readonly<Record<string, string>> = {}): void {
    this.write({ 'package.json': this.#manifest(type, dependencies) })
  }

  /** Runs a command in the project, and returns what it prints. */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    const options = { cwd: this.directory, timeout: TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 }
    // Bundlers and frameworks would ask or report about themselves.
    const env = { ...process.env, CI: '1', NEXT_TELEMETRY_DISABLED: '1', NO_COLOR: '1' }
    const { stdout, stderr } = await execute(command, args, { ...options, env }).catch((error) => {
      throw new Error(`${command} ${args.join(' ')}: ${error.stderr || error.stdout || error}`)
    })
    return stdout === '' ? stderr : stdout
  }

  /**
   * Runs a command that ends with the program of life-cycle.ts, with an empty directory for its
   * stores. Returns how files were read.
   *
   * @throws if it has not seen what it should
   */
  async expectLifeCycle(command: string, ...args: readonly string[]): Promise<string> {
    const stores = join(this.directory, `stores-${Date.now()}`)
    return assertSeen(await this.run(command, ...args, stores))
  }

  /**
   * Starts a command that prints a line and goes on until its input ends; returns how to end it.
   */
  async start(command: string, ...args: readonly string[]): Promise<() => Promise<unknown>> {
    const started = spawn(command, args, {
      cwd: this.directory,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const ended = once(started, 'exit')
    const line = once(createInterface({ input: started.stdout }), 'line')
    await Promise.race([line, ended.then(() => Promise.reject(new Error(`${command} has ended`)))])
    return () => {
      started.stdin.end()
      return ended
    }
  }

  #manifest(type: string, dependencies: Readonly<Record<string, string>>): string {
    const all = { ...dependencies, firkin: `file:${this.#tarball}` }
    return JSON.stringify({ name: 'project', private: true, type, dependencies: all }, null, 2)
  }
}

/**
 * Asserts that the last line printed is what the program of life-cycle.ts should have seen, and
 * returns how files were read.
 */
export function assertSeen(printed: string): string {
  const line = printed.trim().split('\n').at(-1) ?? ''
  const { mapping, ...seen } = JSON.parse(line)
  const expected = JSON.stringify(EXPECTED)
  const found = JSON.stringify({ ...EXPECTED, ...seen })
  if (found !== expected || Object.keys(seen).length !== Object.keys(EXPECTED).length) {
    throw new Error(`It saw ${line} instead of ${expected}`)
  }
  return mapping ? 'mapped' : 'by position'
}
