/** All environments: the places where the package is run, each with what is tried there. */

import { BUNDLERS } from './bundlers.ts'
import { MANAGERS } from './managers.ts'
import type { Project } from './project.ts'
import { RUNNERS } from './runners.ts'
import { RUNTIMES } from './runtimes.ts'

/** A place where the package is run. */
export interface Environment {
  readonly name: string
  readonly about: string
  /** Whether the gate tries it. The others take longer, or install more. */
  readonly inGate: boolean
  /**
   * Tries it in an empty project.
   *
   * @returns what is worth reporting
   * @throws if something does not work
   */
  run(project: Project): Promise<string>
}

/** All environments, by what they are. */
export const ENVIRONMENTS: readonly Environment[] = [
  ...RUNTIMES,
  ...BUNDLERS,
  ...RUNNERS,
  ...MANAGERS,
]
