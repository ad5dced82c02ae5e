/** The configuration of test runs on mutants. */

import { relative } from 'node:path'
import { mergeConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import config from '../vitest.config.ts'

/**
 * Runs those test files first that were quick in the last run, since the first failure ends a run.
 */
class QuickestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const durations = new Map(files.map((file) => [file, this.#lastDuration(file)]))
    return files.toSorted((a, b) => (durations.get(a) ?? 0) - (durations.get(b) ?? 0))
  }

  #lastDuration({ project, moduleId }: TestSpecification): number {
    const { root } = this.ctx.config
    const key = `${project.name}:${relative(root, moduleId)}`
    return this.ctx.cache.getFileTestResults(key)?.duration ?? 0
  }
}

export default mergeConfig(config, {
  test: { bail: 1, maxWorkers: 1, sequence: { sequencer: QuickestFirst } },
})
