import { describe, expect, it } from 'vitest'
import {
  CHECKPOINT_HEAD_SIZE,
  type CheckpointSummary,
  checkpointHeadSize,
  decodeCheckpointHead,
  encodeCheckpointHead,
} from '../../src/format/checkpoint.ts'
import { checksum } from '../../src/format/checksum.ts'
import { decodeFileHeader, FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import { flips, SEED, STORE_ID } from '../support/records.ts'

const summary: CheckpointSummary = {
  kind: 'hash',
  keydir: { any: ['json', 1] },
  tailId: 4,
  tailSize: 5,
  nextSequence: 2 ** 48 - 1,
  segments: [
    {
      id: 4,
      size: 5,
      putCount: 1,
      tombstoneCount: 0,
      tombstoneBytes: 0,
      minSequence: 1,
      maxSequence: 9,
      lastExpiryMs: 0,
      deadPutCount: 1,
      deadBytes: 30,
    },
  ],
  arenas: [1, 2],
}

const chunks = [Buffer.from('first'), Buffer.alloc(400, 7), Buffer.alloc(0)]
const head = encodeCheckpointHead(STORE_ID, 12, summary, chunks)

describe('the head of a checkpoint', () => {
  it('consists of these bytes, and JSON', () => {
    const json = Buffer.from(JSON.stringify(summary))

    expect(head.readUInt32LE(FILE_HEADER_SIZE)).toBe(json.length)
    expect(head.readUInt32LE(FILE_HEADER_SIZE + 4)).toBe(3)
    expect(head.subarray(CHECKPOINT_HEAD_SIZE, CHECKPOINT_HEAD_SIZE + 4).toString('hex')).toBe(
      '05000000',
    )
    expect(head.subarray(CHECKPOINT_HEAD_SIZE + 24)).toEqual(json)
    expect(decodeFileHeader(head)).toMatchObject({ type: 'checkpoint', fileId: 12 })
    expect(checkpointHeadSize(head.subarray(0, CHECKPOINT_HEAD_SIZE))).toBe(head.length)
  })

  it('yields the summary, and the position of each chunk', () => {
    const places = chunks.map((chunk, index) => ({
      offset: head.length + chunks.slice(0, index).reduce((sum, { length }) => sum + length, 0),
      size: chunk.length,
      crc: checksum(chunk, 0, chunk.length, SEED),
    }))

    expect(decodeCheckpointHead(head, STORE_ID)).toEqual({ summary, chunks: places })
  })

  it('is refused if any bit after the file header is flipped', () => {
    for (const { at, bytes } of flips(head)) {
      // The sizes determine how large the head is; the reader has checked them against the file
      // before.
      if (at < FILE_HEADER_SIZE || checkpointHeadSize(bytes) !== head.length) continue
      expect(decodeCheckpointHead(bytes, STORE_ID), `byte ${at}`).toBeUndefined()
    }
  })

  it('of another store is refused', () => {
    expect(decodeCheckpointHead(head, new Uint8Array(16))).toBeUndefined()
  })
})
