import { describe, expect, it } from 'vitest'
import {
  CHECKPOINT_NAME,
  hintName,
  holdsStore,
  LOCK_NAME,
  MANIFEST_NAME,
  MAX_SEGMENT_ID,
  parseName,
  segmentIdsOf,
  segmentName,
  temporaryName,
} from '../../src/format/names.ts'

describe('the name of a file', () => {
  it.each([
    [segmentName(1), '0000000001.segment', { type: 'segment', id: 1 }],
    [hintName(42), '0000000042.hint', { type: 'hint', id: 42 }],
    [segmentName(MAX_SEGMENT_ID), '2147483647.segment', { type: 'segment', id: MAX_SEGMENT_ID }],
    [MANIFEST_NAME, 'MANIFEST', { type: 'manifest' }],
    [CHECKPOINT_NAME, 'CHECKPOINT', { type: 'checkpoint' }],
    [LOCK_NAME, 'LOCK', { type: 'lock' }],
    [temporaryName(MANIFEST_NAME, 7), 'MANIFEST.7.tmp', { type: 'temporary' }],
    [temporaryName(segmentName(3), 2), '0000000003.segment.2.tmp', { type: 'temporary' }],
    [temporaryName(hintName(3), 0), '0000000003.hint.0.tmp', { type: 'temporary' }],
  ])('%s is created and recognised', (made, name, parsed) => {
    expect(made).toBe(name)
    expect(parseName(name)).toEqual(parsed)
  })

  it.each([
    'notes.txt',
    'manifest',
    'MANIFEST.tmp',
    'MANIFEST.tmp.tmp',
    'MANIFEST.7',
    'MANIFEST.x.tmp',
    'photo.1.tmp',
    '.tmp',
    '1.segment',
    '0000000000.segment',
    '2147483648.segment',
    '00000000001.segment',
    '000000001x.segment',
    '-000000001.segment',
    '0000000001.segment.bak',
    '0000000001.SEGMENT',
    '0000000001',
    '.segment',
    '',
  ])('%j is not the store’s', (name) => {
    expect(parseName(name)).toEqual({ type: 'foreign' })
  })

  it('identifies the segments of a directory, and whether it holds a store', () => {
    const others = ['0000000007.hint', 'CHECKPOINT', 'LOCK', '0000000001.segment.damaged', 'notes']
    const segments = [segmentName(200), segmentName(3)]

    expect(segmentIdsOf([...others, ...segments])).toEqual([3, 200])
    expect(holdsStore(others)).toBe(false)
    expect(holdsStore([...others, MANIFEST_NAME])).toBe(true)
    expect(holdsStore([...others, ...segments])).toBe(true)
  })

  it('sorts as the ids do', () => {
    const ids = [1, 2, 9, 10, 11, 99, 100, 1_000_000]

    expect(ids.map(segmentName).sort()).toEqual(ids.map(segmentName))
  })
})
