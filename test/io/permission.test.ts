/** Stores and caches under Node's permission model, which refuses to sync files. */

import { execFile } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { open } from '../../src/index.ts'
import { withDirectory } from '../support/directory.ts'

const run = promisify(execFile)
const ROOT = realpathSync(join(import.meta.dirname, '../..'))

const [major = 0] = process.versions.node.split('.').map(Number)
const FLAG = major < 22 ? '--experimental-permission' : '--permission'

const OPEN = `
import { open } from '${ROOT}/dist/src/index.js'
const [directory, options, work] = process.argv.slice(1)
const attempt = async (call) => {
  try { return await call() } catch (error) { return error.code + ': ' + error.message }
}
console.log(JSON.stringify(await attempt(async () => {
  const store = await open(directory, JSON.parse(options))
  store.on('error', () => undefined)
  const result = {}
  if (!JSON.parse(options).readOnly) {
    for (let index = 0; index < 300; index++) await store.put('key ' + (index % 7), 'x'.repeat(1000))
    await store.put('key', 'value')
    result.sync = await attempt(() => store.sync())
  }
  result.backup = await attempt(() => store.backup(directory + '-copy'))
  result.value = String(store.get('key'))
  result.merge = (await attempt(() => store.merge())).bytesGained
  await store.close()
  return result
})))
`

const CACHE = `
import { openCache } from '${ROOT}/dist/src/cache/cache.js'
const [directory] = process.argv.slice(1)
for (const value of ['first', undefined]) {
  const cache = await openCache(directory, { maxBytes: 2 ** 20, strict: true })
  if (value !== undefined) cache.set('key', Buffer.from(value))
  else console.log(JSON.stringify(String(cache.get('key'))))
  await cache.close()
}
`

/** Runs a program with permissions for a directory; returns what it prints, and its warnings. */
async function runWith(
  permissions: readonly string[],
  directory: string,
  program: string,
  options: object = {},
): Promise<{ answer: unknown; warnings: string }> {
  const files = ['--allow-fs-read=*', `--allow-fs-write=${realpathSync(directory)}`]
  const args = ['--input-type=module', '-e', program, '--', join(realpathSync(directory), 'data')]
  const { stdout, stderr } = await run(process.execPath, [
    FLAG,
    ...files,
    ...permissions,
    ...args,
    JSON.stringify(options),
  ])
  return { answer: JSON.parse(stdout), warnings: stderr }
}

const REFUSED =
  "FIRKIN_NOT_PERMITTED: Node's permission model refuses to sync files, so that nothing can be " +
  "promised to survive a power loss; open the store with sync: 'never', or run without the " +
  'permission model'

describe("Node's permission model", () => {
  it.each([{}, { sync: 'always' }, { sync: { everyWrites: 9 } }])(
    'refuses a store with %j before anything is made',
    async (options) => {
      await withDirectory(async (directory) => {
        const { answer } = await runWith(['--allow-addons'], directory, OPEN, options)

        expect(answer).toBe(REFUSED)
        expect(existsSync(join(directory, 'data'))).toBe(false)
      })
    },
  )

  it("serves a store with sync 'never', and says that nothing is synced", async () => {
    await withDirectory(async (directory) => {
      const permissions = ['--allow-addons', '--allow-worker']
      const options = { sync: 'never', maxSegmentBytes: 65_536 }

      const { answer, warnings } = await runWith(permissions, directory, OPEN, options)

      expect(warnings).toContain('[FIRKIN_NOT_SYNCED] Warning: ')
      expect(answer).toEqual({
        sync: REFUSED,
        backup: REFUSED,
        value: 'value',
        merge: expect.any(Number),
      })
      await using store = await open(join(directory, 'data'))
      expect(store.stats().recovery.closed).toBe(true)
      expect((await store.verify()).ok).toBe(true)
      expect(store.count()).toBe(8)
    })
  })

  it('needs no native part, if the store is opened without a lock', async () => {
    await withDirectory(async (directory) => {
      const refused = await runWith([], directory, OPEN, { sync: 'never' })
      expect(refused.answer).toMatch(
        /^FIRKIN_LOCK_UNAVAILABLE: .*; run with Node's option --allow-addons, or open it with/,
      )
      expect(existsSync(join(directory, 'data'))).toBe(false)

      const { answer } = await runWith([], directory, OPEN, { sync: 'never', lock: false })
      expect(answer).toMatchObject({ value: 'value' })
    })
  })

  it('lets a store be read', async () => {
    await withDirectory(async (directory) => {
      const store = await open(join(directory, 'data'))
      await store.put('key', 'value')
      await store.close()

      const { answer } = await runWith([], directory, OPEN, { readOnly: true })

      expect(answer).toMatchObject({ value: 'value', backup: REFUSED })
    })
  })

  it('serves a cache', async () => {
    await withDirectory(async (directory) => {
      const { answer } = await runWith(['--allow-addons'], directory, CACHE)

      expect(answer).toBe('first')
    })
  })
})
