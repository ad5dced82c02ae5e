import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { PersistentCache } from '../../src/cache/cache.ts'
import { segmentName } from '../../src/format/names.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { readManifest } from '../../src/segment/manifest-file.ts'
import { type Call, FaultyFiles } from '../support/faulty-files.ts'
import { Random } from '../support/random.ts'
import { DIRECTORY, MIB, openInMemory } from './support.ts'

const TEXT = { maxBytes: MIB, valueEncoding: 'utf8' } as const
const KEY_COUNT = 300

describe('a cache that deletes its oldest segments', () => {
  it('replaces its manifest once for many of them', async () => {
    const files = new FaultyFiles(1)
    const cache = await openInMemory<string>(files, { ...TEXT, maxBytes: 4 * MIB })
    for (let index = 0; index < 16_000; index++) {
      cache.set(`key ${index}`, 'x'.repeat(1000))
      if (index % 50 === 0) await Promise.resolve()
    }
    const deleted = count(files.calls, 'remove', /\.segment$/)
    const replaced = count(files.calls, 'rename', /MANIFEST$/)

    expect(deleted).toBeGreaterThan(150)
    // About one each time the whole budget was written.
    expect(replaced).toBeLessThan(20)
    await cache.close()
  })

  it.each([1, 2])(
    'is whole after a kill at any call from one of them to the next (seed %i)',
    { timeout: 120_000 },
    async (seed) => {
      const random = new Random(Number(process.env.SEED ?? seed))
      const files = new FaultyFiles(random.below(2 ** 32))
      const cache = await openInMemory<string>(files, TEXT)
      // The values that each key may have: at the end of the last turn, and those set since.
      const allowed = new Map<string, (string | undefined)[]>()
      const kills: { readonly machine: FaultyFiles; readonly allowed: typeof allowed }[] = []
      let callsLeft = 0
      files.onCall = (call, crash) => {
        if (call.kind === 'remove' && call.path.endsWith('.segment')) callsLeft = 6
        if (callsLeft-- > 0 && random.chance(0.08)) {
          kills.push({ machine: crash(), allowed: structuredClone(allowed) })
        }
      }
      for (let turn = 0; turn < 40; turn++) {
        for (let step = 0; step < 40; step++) change(cache, random, allowed)
        await Promise.resolve()
        for (const [key, values] of allowed) allowed.set(key, values.slice(-1))
      }
      files.onCall = undefined
      await cache.close()

      let missingCount = 0
      expect(kills.length).toBeGreaterThan(10)
      for (const { machine, allowed } of kills) {
        missingCount += deletedUnsaid(machine)
        const { findings } = await verifyDirectory(machine, DIRECTORY)
        expect(findings.filter(({ severity }) => severity !== 'notice')).toEqual([])
        const again = await openInMemory<string>(machine, TEXT)
        for (let index = 0; index < KEY_COUNT; index++) {
          const key = `key ${index}`
          const value = again.get(key)
          if (value !== undefined) expect(allowed.get(key)).toContain(value)
        }
        expect(again.stats().emptied).toBe(0)
        await again.close()
      }
      expect(missingCount).toBeGreaterThan(kills.length)
    },
  )

  it('treats missing oldest segments as deleted, and any other missing one as lost', async () => {
    for (const which of ['oldest', 'other'] as const) {
      const files = new FaultyFiles(1)
      const first = await openInMemory<string>(files, TEXT)
      for (let index = 0; index < 600; index++) first.set(`key ${index}`, 'x'.repeat(1000))
      await first.close()
      const [oldest, other] = readManifest(files, DIRECTORY)?.segments ?? []
      const gone = which === 'oldest' ? oldest : other
      files.poke(join(DIRECTORY, segmentName(gone?.id ?? 0)), undefined)

      const cache = await openInMemory<string>(files, TEXT)
      await vi.waitFor(() => expect(cache.set('new', 'value')).toBe(true))

      const { emptied, entries } = cache.stats()
      expect(emptied).toBe(which === 'oldest' ? 0 : 1)
      if (which === 'oldest') expect(entries).toBeGreaterThan(300)
      await cache.close()
    }
  })
})

/** Counts the segments that a machine's manifest lists, and that are not there. */
function deletedUnsaid(machine: FaultyFiles): number {
  const names = new Set(machine.list(DIRECTORY))
  const bytes = machine.peek(join(DIRECTORY, 'MANIFEST')) ?? Buffer.alloc(0)
  let count = 0
  for (let at = 68; at + 42 < bytes.length; at += 42) {
    if (!names.has(segmentName(bytes.readUInt32LE(at)))) count++
  }
  return count
}

function count(calls: readonly Call[], kind: Call['kind'], path: RegExp): number {
  return calls.filter((call) => call.kind === kind && path.test(call.path)).length
}

function change(
  cache: PersistentCache<string>,
  random: Random,
  allowed: Map<string, (string | undefined)[]>,
): void {
  const key = `key ${random.below(KEY_COUNT)}`
  const note = (value: string | undefined): void => {
    allowed.set(key, [...(allowed.get(key) ?? [undefined]), value])
  }
  if (random.chance(0.8)) {
    const value = `${random.below(1e9)}${'x'.repeat(random.below(8000))}`
    note(value)
    cache.set(key, value)
  } else {
    note(undefined)
    cache.delete(key)
  }
}
