/** The figures of a segment. */

import { describe, expect, it } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { BATCH_END, PUT, TOMBSTONE } from '../../src/format/record.ts'
import { SegmentUsage } from '../../src/segment/usage.ts'

describe('the usage of a segment', () => {
  it('counts puts, tombstones and batch ends separately', () => {
    const usage = new SegmentUsage()

    usage.add(PUT, 100, 5, 0)
    usage.add(TOMBSTONE, 20, 6, 0)
    usage.add(PUT, 50, 3, 0)
    usage.add(BATCH_END, 22, 7, 0)

    expect(usage).toMatchObject({
      size: FILE_HEADER_SIZE + 192,
      putCount: 2,
      livePutCount: 2,
      tombstoneCount: 1,
      tombstoneBytes: 20,
      deadBytes: 22,
      liveBytes: 150,
      minSequence: 3,
      maxSequence: 7,
    })
  })

  it('counts puts that become dead, and that become live again', () => {
    const usage = new SegmentUsage()
    usage.add(PUT, 100, 1, 0)
    usage.add(PUT, 50, 2, 0)

    usage.kill(100)
    expect(usage).toMatchObject({ deadPutCount: 1, deadBytes: 100, livePutCount: 1, liveBytes: 50 })
    usage.revive(100)
    expect(usage).toMatchObject({ deadPutCount: 0, deadBytes: 0, livePutCount: 2, liveBytes: 150 })
  })

  it.each([
    ['no put', [], 0],
    ['puts that all expire', [7, 9, 8], 9],
    ['a put that never does among them', [7, 0, 9], 0],
    ['first a put that never does', [0, 9], 0],
  ])('knows when the last put expires: %s', (_, expiries, last) => {
    const usage = new SegmentUsage()

    for (const [index, expiresAtMs] of expiries.entries())
      usage.add(PUT, 30, index + 1, expiresAtMs)
    usage.add(TOMBSTONE, 20, 99, 0)

    expect(usage.lastExpiryMs).toBe(last)
  })

  it('is sealed without what is dead, and can be restored from that', () => {
    const usage = new SegmentUsage()
    usage.add(PUT, 100, 5, 77)
    usage.add(TOMBSTONE, 20, 6, 0)
    usage.kill(100)

    const sealed = usage.seal(3, 'merged')

    expect(sealed).toEqual({
      id: 3,
      origin: 'merged',
      size: FILE_HEADER_SIZE + 120,
      putCount: 1,
      tombstoneCount: 1,
      tombstoneBytes: 20,
      minSequence: 5,
      maxSequence: 6,
      lastExpiryMs: 77,
    })
    const again = new SegmentUsage(sealed)
    expect(again.seal(3, 'merged')).toEqual(sealed)
    expect(again).toMatchObject({ deadPutCount: 0, deadBytes: 0 })
    again.setDead(usage)
    expect(again.liveBytes).toBe(0)
  })
})
