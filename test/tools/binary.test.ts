import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { BINARY_VALUE, Fixtures, fillTiny, openBytes } from './fixture.ts'
import { BINARY, linesOf, run, runBinary } from './run.ts'

const fixtures = new Fixtures()

describe('the built tool', () => {
  it('writes bytes unchanged to a pipe', async () => {
    const { bytes } = await runBinary(['get', await fixtures.tiny(), '00ff10', '--hex', '--json'])
    expect(JSON.parse(String(bytes)).value.base64).toBe(BINARY_VALUE.toString('base64'))

    const store = await fixtures.copyOf(fixtures.tiny())
    await run(['put', store, 'bytes', '-'], { input: BINARY_VALUE })
    expect((await runBinary(['get', store, 'bytes'])).bytes).toEqual(BINARY_VALUE)
  })

  it('ends quietly when head has read enough', async () => {
    const store = await fixtures.large()
    for (const command of ['dump', 'scan', 'export']) {
      const script = `"${process.execPath}" "${BINARY}" ${command} "${store}" | head -n 2; exit \${PIPESTATUS[0]}`
      const child = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] })
      let stdout = ''
      let stderr = ''
      child.stdout.on('data', (chunk) => (stdout += String(chunk)))
      child.stderr.on('data', (chunk) => (stderr += String(chunk)))

      const [status] = await once(child, 'close')

      expect([command, status, linesOf(stdout).length]).toEqual([command, 0, 2])
      expect(stderr).not.toMatch(/EPIPE|firkin:/)
    }
  })

  it('follows a writer until Ctrl-C', async () => {
    const directory = await fixtures.path()
    await using store = await openBytes(directory)
    await fillTiny(store)

    const { status, stdout, stderr } = await runBinary(['tail', directory, '--follow', '-n', '2'], {
      signal: 'SIGINT',
      killAfter: 'batch-end',
    })

    expect([status, stderr]).toEqual([0, ''])
    expect(linesOf(stdout)).toHaveLength(2)
  })

  it('leaves a whole store when an import is interrupted', async () => {
    const store = await fixtures.path()
    const child = spawn(process.execPath, [BINARY, 'import', store, '--batch', '10'], {
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    let stderr = ''
    child.stderr.on('data', (chunk) => (stderr += String(chunk)))
    child.stdin.on('error', () => undefined)
    let index = 0
    const feeding = setInterval(() => {
      for (let count = 0; count < 20; count++, index++) {
        child.stdin.write(`{"key":"k${index}","value":"v${index}"}\n`)
      }
      if (!existsSync(join(store, 'import.json')) || child.killed) return
      child.kill('SIGINT')
    }, 5)

    const [status] = await once(child, 'close')
    clearInterval(feeding)

    expect(status).toBe(130)
    const [, told] = /Interrupted\. ([\d,]+) records of the input were imported/.exec(stderr) ?? []
    const imported = told?.replaceAll(',', '')
    expect(Number(imported)).toBeGreaterThan(0)
    expect((await run(['count', store])).stdout).toBe(`${imported}\n`)
    expect((await run(['verify', store])).status).toBe(0)
    expect((await run(['inspect', store])).stdout).toContain('closed in good order')
  })
})
