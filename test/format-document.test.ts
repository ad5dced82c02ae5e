/** The page on formats: its bytes are those that the code writes and reads. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  decodeFileHeader,
  FILE_HEADER_SIZE,
  storeSeed,
  versionOf,
} from '../src/format/file-header.ts'
import { HintDecoder } from '../src/format/hint.ts'
import { decodeManifest, encodeManifest } from '../src/format/manifest.ts'
import {
  BATCH_END,
  EXPIRES,
  IN_BATCH,
  keyOffset,
  PUT,
  pageOf,
  RECORD_HEADER_SIZE,
  RecordFields,
  TOMBSTONE,
} from '../src/format/record.ts'
import { open } from '../src/index.ts'
import { systemFiles } from '../src/io/files.ts'
import { buildHint } from '../src/segment/hint-file.ts'
import { withDirectory } from './support/directory.ts'
import { directoryIdOf } from './support/held.ts'

const document = readFileSync(new URL('../src/format/FORMAT.md', import.meta.url), 'utf8')
const storeId = Uint8Array.from({ length: 16 }, (_, index) => index)
const expiresAtMs = Date.UTC(2030, 0, 1)
/** The time at which the example is written. */
const clockMs = Date.UTC(2026, 0, 1)

/** A line of a hex block: an offset, bytes, and their meaning. */
interface Line {
  readonly offset: number
  readonly bytes: Buffer
  readonly text: string
}

function linesOf(name: string): Line[] {
  const block = document.split(`\`\`\`hex ${name}\n`)[1]?.split('```')[0] ?? ''
  return block
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const parts = /^ *(\d+) {2}((?:[0-9a-f]{2} )*[0-9a-f]{2}) {2,}(.+)$/.exec(line)
      if (parts === null) throw new Error(`Not a line of hex: ${line}`)
      const [, offset, hex = '', text = ''] = parts
      return { offset: Number(offset), bytes: Buffer.from(hex.replaceAll(' ', ''), 'hex'), text }
    })
}

function bytesOf(name: string): Buffer {
  return Buffer.concat(linesOf(name).map((line) => line.bytes))
}

const SEGMENT = '0000000001.segment'
const HINT = '0000000001.hint'

describe('the format document', () => {
  it.each([SEGMENT, HINT, 'MANIFEST'])('gives every byte of %s at its offset', (name) => {
    const lines = linesOf(name)

    let end = 0
    for (const line of lines) {
      expect(line.offset).toBe(end)
      end += line.bytes.length
    }
    expect(end).toBeGreaterThan(FILE_HEADER_SIZE)
  })

  it('has tables in which each field begins where the one before ends', () => {
    const rows = [...document.matchAll(/^\| (\d+) \| (\d+) \| /gm)].map(([, offset, size]) => ({
      offset: Number(offset),
      end: Number(offset) + Number(size),
    }))

    const ends = rows.filter((row, index) => rows[index + 1]?.offset !== row.end)
    // These are the ends of the fixed fields of each structure.
    expect(ends.map((row) => row.end)).toEqual([
      FILE_HEADER_SIZE,
      RECORD_HEADER_SIZE + 6,
      76,
      12,
      42,
      56,
      56,
    ])
  })

  it('shows the bytes that a store writes', async () => {
    await withDirectory(async (directory) => {
      const empty = encodeManifest({
        storeId,
        generation: 1,
        tailId: 1,
        tailSize: 0,
        nextSegmentId: 1,
        nextSequence: 1,
        keydirKind: 'btree',
        closed: true,
        clockMs: 0,
        sweeps: [],
        segments: [],
      })
      writeFileSync(join(directory, 'MANIFEST'), empty)

      const store = await open(directory, { clock: () => clockMs })
      await store.put('a', 'one')
      await store.put('b', 'two', { expiresAt: new Date(expiresAtMs) })
      await store.delete('a')
      await store.batch().put('c', '3').put('d', '').commit()
      await store.close()
      const size = bytesOf(SEGMENT).length
      const directoryId = directoryIdOf(systemFiles, directory)
      buildHint(systemFiles, { directoryId, storeId, id: 1, origin: 'appended', size })

      for (const name of [SEGMENT, HINT, 'MANIFEST']) {
        expect(readFileSync(join(directory, name)).toString('hex')).toBe(
          bytesOf(name).toString('hex'),
        )
      }
    })
  })

  it('shows files that open as the store it describes', async () => {
    await withDirectory(async (directory) => {
      for (const name of [SEGMENT, 'MANIFEST']) {
        writeFileSync(join(directory, name), bytesOf(name))
      }
      let nowMs = expiresAtMs - 1

      await using store = await open(directory, {
        readOnly: true,
        valueEncoding: 'utf8',
        clock: () => nowMs,
      })

      expect([...store.entries()]).toEqual([
        ['b', 'two'],
        ['c', '3'],
        ['d', ''],
      ])
      expect(store.stats().recovery).toMatchObject({ closed: true, torn: [], replayedCount: 6 })
      nowMs = expiresAtMs
      expect([...store.keys()]).toEqual(['c', 'd'])
    })
  })

  it('names the fields of the segment as its codec reads them', () => {
    const page = pageOf(bytesOf(SEGMENT))
    const fields = new RecordFields()
    const texts = headerTexts(page.bytes)

    for (let at = FILE_HEADER_SIZE; at < page.bytes.length; at += fields.size) {
      expect(fields.read(page, at, page.bytes.length, storeSeed(storeId))).toBeGreaterThan(0)
      texts.push('CRC', describeSizes(fields), `sequence ${fields.sequence}`)
      if (fields.expiresAtMs > 0) texts.push(String(fields.expiresAtMs))
      if (fields.kind === BATCH_END) {
        texts.push(`${fields.batchCount(page)} members`)
        continue
      }
      texts.push(page.bytes.toString('utf8', fields.keyAt, fields.valueAt))
      if (fields.valueSize > 0) {
        texts.push(page.bytes.toString('utf8', fields.valueAt, fields.valueAt + fields.valueSize))
      }
    }

    expect(linesOf(SEGMENT).map((line) => line.text)).toEqual(texts)
  })

  it('names the fields of the manifest as its codec reads them', () => {
    const bytes = bytesOf('MANIFEST')

    const manifest = decodeManifest(bytes, storeId, 2)

    if (typeof manifest === 'number') throw new Error(`The manifest is damaged at ${manifest}`)
    expect(linesOf('MANIFEST').map((line) => line.text)).toEqual([
      ...headerTexts(bytes),
      `tail id ${manifest.tailId}`,
      `tail size ${manifest.tailSize}`,
      `next segment id ${manifest.nextSegmentId}`,
      `next sequence ${manifest.nextSequence}`,
      `${manifest.keydirKind}, ${manifest.closed ? 'closed in good order' : 'not closed'}`,
      `${countOf(manifest.segments)} sealed segments`,
      `the clock said ${manifest.clockMs}`,
      `${countOf(manifest.sweeps)} sweeps`,
      'CRC',
    ])
  })

  it('names the fields of the hint as its codec reads them', () => {
    const bytes = bytesOf(HINT)
    const segmentSize = bytesOf(SEGMENT).length

    const decoder = HintDecoder.open(bytes, storeId, segmentSize)

    if (decoder === undefined) throw new Error('The hint is damaged')
    const entries: string[] = []
    let count = 0
    for (; decoder.next(); count++) {
      const { fields, page } = decoder
      entries.push(`at offset ${decoder.offset}`, 'as in the record')
      if (fields.expiresAtMs > 0) entries.push(String(fields.expiresAtMs))
      entries.push(page.bytes.toString('utf8', fields.keyAt, fields.valueAt))
      const record = bytesOf(SEGMENT).subarray(decoder.offset)
      const head = fields.keyAt - keyOffset(fields.flags)
      expect(bytes.subarray(head + 4, fields.valueAt).toString('hex')).toBe(
        record.subarray(4, fields.valueAt - head).toString('hex'),
      )
    }
    expect(linesOf(HINT).map((line) => line.text)).toEqual([
      ...headerTexts(bytes),
      `the segment has ${segmentSize} bytes`,
      `${count} entries`,
      'CRC',
      ...entries,
    ])
  })
})

function countOf(list: readonly unknown[]): string {
  return list.length === 0 ? 'no' : String(list.length)
}

/** The fields of a file header, as the document gives them. */
function headerTexts(bytes: Buffer): string[] {
  const header = decodeFileHeader(bytes)
  if ('fault' in header) throw new Error(`The header is ${header.fault}`)
  return [
    'magic',
    `${header.type}, version ${versionOf(bytes)}`,
    'store id',
    `${header.type === 'manifest' ? 'generation' : 'segment'} ${header.fileId}`,
    header.origin === 'none' ? 'no origin' : header.origin,
    header.predecessor === undefined ? 'no predecessor' : `behind ${header.predecessor.id}`,
    'CRC',
  ]
}

function describeSizes({ kind, flags, keySize, valueSize }: RecordFields): string {
  const kinds = { [PUT]: 'put', [TOMBSTONE]: 'tombstone', [BATCH_END]: 'batch end' }
  const flag = { 0: 'no flags', [EXPIRES]: 'expires', [IN_BATCH]: 'of a batch' }[flags]
  const key = keySize === 0 ? 'no key' : `key of ${keySize}`
  const value = valueSize === 0 ? 'no value' : `value of ${valueSize}`
  return `${kinds[kind]}, ${flag}, ${key}, ${value}`
}
