/**
 * Golden transcripts of `firkin dump` after each kind of write. They show the records that a store
 * puts into its files, and in which segment; test/README.md says how to write them again.
 *
 * Nothing in them depends on the run: expiry times are constants, and a dump has no store id.
 */

import { describe, expect, it } from 'vitest'
import { withDirectory } from '../support/directory.ts'
import { FUTURE_MS, openBytes } from './fixture.ts'
import { run } from './run.ts'

type ByteStore = Awaited<ReturnType<typeof openBytes>>

const bytes = (text: string): Buffer => Buffer.from(text)

/** Each step goes on with the store of the one before. */
const STEPS: readonly (readonly [name: string, write: (store: ByteStore) => Promise<unknown>])[] = [
  [
    'put',
    async (store) => {
      await store.put('apple', bytes('red'))
      await store.put('apple', bytes('green'))
      await store.put('cherry', bytes(''), { expiresAt: FUTURE_MS })
      await store.put(Buffer.from('00ff', 'hex'), Buffer.from('fe0a', 'hex'))
      await store.delete('apple')
    },
  ],
  [
    'batch',
    async (store) => {
      await store
        .batch()
        .put('pear', bytes('one'))
        .put('plum', bytes('two'))
        .delete('cherry')
        .commit()
    },
  ],
  [
    'merge',
    async (store) => {
      await store.merge()
      await store.put('quince', bytes('after the merge'))
    },
  ],
  [
    'clear',
    async (store) => {
      await store.clear({ prefix: 'p' })
    },
  ],
]

describe('firkin dump', () => {
  it.each(STEPS.map(([name], index) => ({ name, index })))(
    'prints what a $name leaves, as in the golden transcript',
    async ({ name, index }) => {
      await withDirectory(async (directory) => {
        for (const [, write] of STEPS.slice(0, index + 1)) {
          await using store = await openBytes(directory)
          await write(store)
        }

        const { status, stdout, stderr } = await run(['dump', directory])

        expect([status, stderr]).toEqual([0, ''])
        await expect(`$ firkin dump STORE\n${stdout}`).toMatchFileSnapshot(
          `golden/dump-after-${name}.txt`,
        )
      })
    },
  )
})
