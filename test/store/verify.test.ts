/** Verification of an open store. */

import { describe, expect, it } from 'vitest'
import { hintName, segmentName } from '../../src/format/names.ts'
import type { VerifyReport } from '../../src/index.ts'
import type { BackgroundWork } from '../../src/merge/thread.ts'
import { Store } from '../../src/store/store.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { DISK, idle, KIB, keysUpTo, openOn, type TextStore, until } from '../support/store.ts'

/** Files whose syncs take no time, so that a merge ends in few turns. */
class PromptFiles extends FaultyFiles {
  override async syncLater(): Promise<void> {}
  override async syncDirectoryLater(): Promise<void> {}
}

async function fill(store: TextStore, text: string): Promise<void> {
  for (const key of keysUpTo(40)) await store.put(key, text.repeat(4 * KIB))
  await idle(store)
}

describe('verify', () => {
  it('finds nothing in a sound store', async () => {
    await using store = await openOn(new FaultyFiles(1))
    await fill(store, 'a')
    await store.delete('key 001')
    await store.batch().put('b', '1').delete('c').commit()

    const report = await store.verify()

    expect(report).toEqual({
      ok: true,
      findings: [],
      segments: store.stats().segments.length,
      records: 40 + 1 + 3,
      bytes: store.stats().bytes,
    })
  })

  it('does not report hints that are still being made', async () => {
    const files = new FaultyFiles(1)
    const backgroundWork = inProcessWork(files)
    let begin: () => void = () => {}
    const begun = new Promise<void>((resolve) => {
      begin = resolve
    })
    const hint: BackgroundWork['hint'] = (...jobs) => begun.then(() => backgroundWork.hint(...jobs))
    await using store = await Store.open<string, 'utf8'>(
      DISK,
      {
        valueEncoding: 'utf8',
        lock: false,
        mapping: false,
        maxSegmentBytes: 64 * KIB,
        reserveBytes: 0,
        merge: { automatic: false },
      },
      { files, backgroundWork: { ...backgroundWork, hint } },
    )
    await fill(store, 'a')
    const before = files.peek(`${DISK}/${hintName(1)}`)
    const { findings } = await store.verify()
    begin()

    expect(before).toBeUndefined()
    expect(findings).toEqual([])
    await idle(store)
    files.poke(`${DISK}/${hintName(1)}`, undefined)
    expect((await store.verify()).findings).toEqual([
      expect.objectContaining({ kind: 'hint', message: 'The hint is missing' }),
    ])
  })

  it('reads what is still staged', async () => {
    await using store = await openOn(new FaultyFiles(1))

    const put = store.put('a', '1')
    const { records } = await store.verify()

    expect(records).toBe(1)
    await put
  })

  it('names the file and offset of damage', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    const path = `${DISK}/${segmentName(1)}`
    const bytes = files.peek(path) ?? Buffer.alloc(0)
    const value = bytes.indexOf('aaaa')
    bytes[value] = 0x62
    files.poke(path, bytes)

    const { ok, findings } = await store.verify()

    expect(ok).toBe(false)
    expect(findings).toEqual([
      expect.objectContaining({ severity: 'damage', file: path, offset: value - 25 }),
    ])
  })

  it('reports unusable hints as notices, because nothing is lost', async () => {
    const files = new FaultyFiles(1)
    await using store = await openOn(files)
    await fill(store, 'a')
    const [first, second] = [1, 2].map((id) => `${DISK}/${hintName(id)}`)
    files.poke(first ?? '', undefined)
    files.poke(second ?? '', Buffer.from('no hint'))

    const { ok, findings } = await store.verify()

    expect(ok).toBe(true)
    expect(findings.map(({ severity, file }) => [severity, file])).toEqual([
      ['notice', first],
      ['notice', second],
    ])
  })

  it('is not misled by a merge', async () => {
    await using store = await openOn(new PromptFiles(1), { maxSegmentBytes: 5 * 1024 * KIB })
    for (const round of ['a', 'b', 'c']) {
      for (const key of keysUpTo(18)) await store.put(key, round.repeat(200 * KIB))
    }
    let verifying: Promise<VerifyReport> | undefined

    const { segments } = await store.merge({
      onProgress({ bytesRead, bytesTotal }) {
        if (bytesRead === bytesTotal) setImmediate(() => (verifying = store.verify()))
      },
    })

    expect(segments.length).toBeGreaterThan(1)
    await until(() => verifying !== undefined)
    expect((await verifying)?.ok).toBe(true)
  })
})
