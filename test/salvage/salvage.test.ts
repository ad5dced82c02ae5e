import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  checkpointHeadSize,
  decodeCheckpointHead,
  encodeCheckpointHead,
} from '../../src/format/checkpoint.ts'
import { decodeFileHeader } from '../../src/format/file-header.ts'
import { CHECKPOINT_NAME, hintName, segmentName } from '../../src/format/names.ts'
import { verifyDirectory } from '../../src/inspection/verify.ts'
import { systemFiles } from '../../src/io/files.ts'
import { salvageStore } from '../../src/salvage/salvage.ts'
import { withDirectory } from '../support/directory.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { withHeld } from '../support/held.ts'
import { DISK, idle, KIB, keysUpTo, openOn, openStore } from '../support/store.ts'
import { flip } from '../tools/damage.ts'

/** Rebuilds a checkpoint with its first chunk cut in two. */
function cutAnew(file: Buffer): Buffer {
  const header = decodeFileHeader(file)
  if ('fault' in header) throw new Error(header.fault)
  const { storeId, fileId } = header
  const head = decodeCheckpointHead(file.subarray(0, checkpointHeadSize(file)), storeId)
  if (head === undefined) throw new Error('The checkpoint is damaged')
  const [first, ...others] = head.chunks.map(({ offset, size }) =>
    file.subarray(offset, offset + size),
  )
  if (first === undefined) throw new Error('The checkpoint has no chunks')
  const middle = first.length >>> 1
  const chunks = [first.subarray(0, middle), first.subarray(middle), ...others]
  const [count = 0, ...counts] = head.summary.arenas
  const summary = { ...head.summary, arenas: [count + 1, ...counts] }
  const changed = encodeCheckpointHead(storeId, fileId, summary, chunks)
  return Buffer.concat([changed, ...chunks])
}

describe('salvage', () => {
  it('copies a segment into smaller ones', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory, { maxSegmentBytes: 1024 * KIB })
      for (const key of keysUpTo(400)) await store.put(key, 'v'.repeat(KIB))
      await store.close()
      await flip(join(directory, segmentName(1)), 100)

      const { damaged, keys } = await withHeld(systemFiles, directory, (held) =>
        salvageStore(held, { maxSegmentBytes: 64 * KIB, dryRun: false, nowMs: 0 }),
      )

      expect(damaged).toHaveLength(1)
      expect(keys.map(({ key }) => String(key))).toEqual(['key 000'])
      const { ok, segments, records } = await verifyDirectory(systemFiles, directory)
      expect([ok, records]).toEqual([true, 399])
      expect(segments).toBeGreaterThan(6)
    })
  })

  it('does without a checkpoint whose chunks are cut differently', async () => {
    await withDirectory(async (directory) => {
      const store = await openStore(directory, { maxSegmentBytes: 4096 * KIB })
      for (const key of keysUpTo(300)) await store.put(key.padEnd(10_000, '.'), 'v')
      await store.close()
      const path = join(directory, CHECKPOINT_NAME)
      await flip(join(directory, segmentName(1)), 100)
      const salvage = () =>
        withHeld(systemFiles, directory, (held) =>
          salvageStore(held, { maxSegmentBytes: KIB, dryRun: true, nowMs: 0 }),
        )
      const known = await salvage()
      await writeFile(path, cutAnew(await readFile(path)))

      const unknown = await salvage()

      expect([known.keys.length, known.bytesUnknown]).toEqual([1, 0])
      expect([unknown.keys.length, unknown.bytesUnknown]).toEqual([0, known.bytesLost])
    })
  })

  it('loses no byte that it sets aside or cuts off, wherever it is killed or the power fails', async () => {
    const { files, hurt, torn } = await damagedStore()
    const crashes: FaultyFiles[] = []
    files.onCall = (_, crash) => crashes.push(crash())

    const { kept } = await withHeld(files, DISK, (held) => salvageStore(held, OPTIONS))

    expect(kept.map((path) => path.slice(DISK.length + 1))).toEqual([
      '0000000003.segment.torn',
      '0000000001.segment.damaged',
    ])
    expect(crashes.length).toBeGreaterThan(50)
    for (const crash of crashes) {
      const losses = (['dropped', 'scattered'] as const).map((entries) =>
        crash.afterPowerLoss({ files: ['dropped'], entries }, 1),
      )
      for (const machine of [crash, ...losses]) {
        // The next open salvages only if it must.
        const next = await openOn(machine).catch(() => openOn(machine, { recovery: 'salvage' }))
        expect(next.count()).toBe(19)
        await next.close()
        expect([holds(machine, hurt), holds(machine, torn)]).toEqual([true, true])
      }
    }
  })

  it('copies what it sets aside if the file system has no links', async () => {
    const { files, hurt } = await damagedStore()
    files.fail({ kinds: ['link'], nth: 1, code: 'EACCES', lasting: true })

    const { kept } = await withHeld(files, DISK, (held) => salvageStore(held, OPTIONS))

    expect(kept).toHaveLength(2)
    expect(holds(files, hurt)).toBe(true)
    await using store = await openOn(files)
    expect(store.count()).toBe(19)
  })

  it('sets nothing aside if it cannot be finished', async () => {
    const { files } = await damagedStore()
    files.fail({ kinds: ['rename'], path: /MANIFEST/, nth: 1, code: 'EIO' })

    const salvaging = withHeld(files, DISK, (held) => salvageStore(held, OPTIONS))

    await expect(salvaging).rejects.toThrow('EIO')

    const names = files.list(DISK) ?? []
    expect(names.filter((name) => name.endsWith('.damaged'))).toEqual([])
    expect(names.filter((name) => name.endsWith('.torn'))).toHaveLength(1)
    await using store = await openOn(files, { recovery: 'salvage' })
    expect(store.stats().recovery.lost?.damaged).toHaveLength(1)
  })
})

const OPTIONS = { maxSegmentBytes: 64 * KIB, dryRun: false, nowMs: 0 }

/** Makes a store with damage in its first segment and a torn tail. Returns the bytes to be kept. */
async function damagedStore(): Promise<{ files: FaultyFiles; hurt: Buffer; torn: Buffer }> {
  const files = new FaultyFiles(1)
  const store = await openOn(files)
  for (const key of keysUpTo(20)) await store.put(key, key.repeat(1000))
  await store.sync()
  await idle(store)
  const [first, last] = [segmentName(1), segmentName(3)].map((name) => join(DISK, name))
  const end = files.peek(last ?? '')?.length ?? 0
  await store.put('torn', 'x'.repeat(500))
  const machine = files.restart(1)
  await store.close()
  const hurt = machine.peek(first ?? '') ?? Buffer.alloc(0)
  hurt[1000] = (hurt[1000] ?? 0) ^ 1
  const tail = machine.peek(last ?? '')?.subarray(0, -1) ?? Buffer.alloc(0)
  machine.poke(first ?? '', hurt)
  // Without these each open reads the segment.
  machine.poke(join(DISK, hintName(1)), undefined)
  machine.poke(last ?? '', tail)
  return { files: machine, hurt, torn: tail.subarray(end) }
}

/** Whether any file in the store's directory consists of these bytes. */
function holds(files: FaultyFiles, bytes: Buffer): boolean {
  return (files.list(DISK) ?? []).some((name) => files.peek(join(DISK, name))?.equals(bytes))
}
