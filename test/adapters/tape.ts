/** Tests written for tape, run by vitest. */

import tape, { type TestCase } from 'tape'
import { it } from 'vitest'

interface Row {
  readonly type: string
  readonly ok?: boolean
  readonly name?: string
  readonly skip?: unknown
  readonly expected?: unknown
  readonly actual?: unknown
  readonly error?: unknown
}

/** Registers a test written for tape with vitest. A skipped assertion fails it. */
export function tapeTest(name: string, run: TestCase): void {
  it(name, async () => {
    const failed = (await runAlone(name, run)).filter((row) => row.ok === false || row.skip)
    if (failed.length === 0) return
    throw new Error(failed.map(describeRow).join('\n'), { cause: failed[0]?.error })
  })
}

function runAlone(name: string, run: TestCase): Promise<Row[]> {
  return new Promise((resolve) => {
    const rows: Row[] = []
    const harness = tape.createHarness({ autoclose: true })
    harness
      .createStream({ objectMode: true })
      .on('data', (row: Row) => void (row.type === 'assert' && rows.push(row)))
      .on('end', () => resolve(rows))
    harness(name, run)
  })
}

function describeRow({ name, skip, expected, actual }: Row): string {
  if (skip) return `${name}: skipped`
  return `${name}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`
}
