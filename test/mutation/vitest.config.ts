import { relative } from 'node:path'
import { mergeConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import config from '../vitest.config.ts'

/** Runs the test files that were quick the last time first, since the first failure ends the run. */
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
