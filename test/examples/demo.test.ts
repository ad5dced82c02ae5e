/** Runs the demo. */

import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'

const main = fileURLToPath(new URL('../../dist/examples/demo/main.js', import.meta.url))
const run = promisify(execFile)

describe('the demo', () => {
  it('reads back what it wrote, through kills, a merge and every way of opening', async () => {
    await withDirectory(async (directory) => {
      const { stdout } = await run(process.execPath, [main], {
        // A CI may ask for colours, but a pipe gets none.
        env: { ...process.env, TMPDIR: directory, CI: 'true' },
      })

      const steps = stdout.split('\n').map((line) => line.split(' ')[0])
      expect(steps.filter((name) => name !== '')).toEqual([
        '171,075',
        'put',
        'get',
        'range',
        'batch',
        'overwrite',
        ...['kill', 'recover', 'kill', 'recover', 'kill', 'recover'],
        'clear',
        'merge',
        'compare',
        'verify',
        'open',
        'compare',
        'verify',
        'Everything',
      ])
      expect(stdout).toContain('all of it was right')
      expect(readdirSync(directory)).toEqual([])
    })
  })
})
