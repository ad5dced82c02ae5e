import { describe, expect, it } from 'vitest'
import type { CorruptionError } from '../../src/errors.ts'
import { BATCH_END_SIZE } from '../../src/format/record.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { DISK, openOn, type TextStore } from '../support/store.ts'

const PATH = `${DISK}/0000000001.segment`

/** Returns a machine whose process was killed after `write`, and the size of the segment before. */
async function killedAfter(
  write: (store: TextStore) => Promise<unknown>,
): Promise<{ files: FaultyFiles; before: number }> {
  const files = new FaultyFiles(1)
  const store = await openOn(files)
  await store.put('a', '1')
  await store.put('d', '2')
  const before = files.peek(PATH)?.length ?? 0
  await write(store)
  const machine = files.restart(1)
  await store.close()
  return { files: machine, before }
}

describe('a torn tail', () => {
  const writes: [string, (store: TextStore) => Promise<unknown>, [string, string][]][] = [
    [
      'the smallest put',
      (store) => store.put('k', ''),
      [
        ['a', '1'],
        ['d', '2'],
        ['k', ''],
      ],
    ],
    ['the smallest delete', (store) => store.delete('d'), [['a', '1']]],
    [
      'a batch',
      (store) => store.batch().delete('d').put('k', 'in a batch').commit(),
      [
        ['a', '1'],
        ['k', 'in a batch'],
      ],
    ],
  ]

  it.each(writes)(
    'of %s is cut off at any byte before anything is appended',
    async (_, write, after) => {
      const { files, before } = await killedAfter(write)
      const bytes = files.peek(PATH) ?? Buffer.alloc(0)
      expect(bytes.length).toBeGreaterThan(before + 18)

      for (let size = before; size <= bytes.length; size++) {
        const machine = files.restart(1)
        machine.poke(PATH, bytes.subarray(0, size))
        const isWhole = size === bytes.length
        const found: [string, string][] = isWhole
          ? after
          : [
              ['a', '1'],
              ['d', '2'],
            ]
        const isTorn = !isWhole && size > before

        const first = await openOn(machine)
        const { torn } = first.stats().recovery
        expect([...first.entries()]).toEqual(found)
        expect(torn).toEqual(isTorn ? [{ file: PATH, offset: before, bytes: size - before }] : [])
        // Smaller than the torn record: if that were left, its end would follow this one.
        await first.put('z', '')
        const killed = machine.restart(1)
        await first.close()

        for (const again of [killed, machine]) {
          const second = await openOn(again)
          expect([...second.entries()]).toEqual([...found, ['z', '']])
          expect(second.stats().recovery.torn).toEqual([])
          await second.close()
        }
      }
    },
  )

  describe.each([
    ['a put', (store: TextStore) => store.put('later', 'settled')],
    ['a batch', (store: TextStore) => store.batch().put('later', 'settled').delete('a').commit()],
  ])('that is a batch without its end', (name, writeLater) => {
    it(`is damage if ${name} follows it, which may have settled`, async () => {
      let end = 0
      const { files, before } = await killedAfter(async (store) => {
        await store.batch().put('b', '3').put('c', '4').commit()
        end = store.stats().bytes
        await writeLater(store)
      })
      const bytes = files.peek(PATH) ?? Buffer.alloc(0)
      files.poke(
        PATH,
        Buffer.concat([bytes.subarray(0, end - BATCH_END_SIZE), bytes.subarray(end)]),
      )
      const damaged = files.restart(1)
      const follower = files.restart(1)

      const refused = await openOn(damaged).catch((error: unknown) => error)
      const unread = await openOn(follower, { readOnly: true }).catch((error: unknown) => error)

      expect(refused).toMatchObject({ code: 'FIRKIN_CORRUPT', file: PATH })
      expect(unread).toMatchObject({ code: 'FIRKIN_CORRUPT', file: PATH })
      expect((refused as CorruptionError).offset).toBeGreaterThanOrEqual(before)
      expect(damaged.peek(PATH)?.length).toBe(bytes.length - BATCH_END_SIZE)
    })
  })

  it.each(['EIO', 'SHORT'] as const)('is not assumed after a read that fails: %s', async (code) => {
    const { files } = await killedAfter((store) => store.put('k', 'x'.repeat(500)))
    const bytes = files.peek(PATH)

    for (let seed = 1; seed <= 20; seed++) {
      for (let nth = 1, faults = 1; faults > 0; nth++) {
        const machine = files.restart(seed)
        machine.fail({ kinds: ['read'], nth, code })
        const outcome = await openOn(machine).catch((error: unknown) => error)
        if (outcome instanceof Error) {
          expect(outcome).toMatchObject({
            code: expect.stringMatching(/^FIRKIN_(READ|IO)_FAILED$/),
            cause: { code },
          })
          expect(machine.peek(PATH)).toEqual(bytes)
        } else {
          const store = outcome as TextStore
          expect([...store.keys()]).toEqual(['a', 'd', 'k'])
          await store.close()
        }
        faults = machine.faultCount
      }
    }
  })
})
