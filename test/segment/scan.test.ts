/** Scanning a segment, and looking for records after a fault. */

import { describe, expect, it } from 'vitest'
import { FILE_HEADER_SIZE } from '../../src/format/file-header.ts'
import {
  BATCH_END,
  IN_BATCH,
  MAX_PREALLOCATION_SIZE,
  PUT,
  TOMBSTONE,
} from '../../src/format/record.ts'
import { watchAllocations } from '../../src/io/memory.ts'
import { findRecord, type ScanEnd, type ScanOptions, scanSegment } from '../../src/segment/scan.ts'
import { Window } from '../../src/segment/window.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { batchEnd, flips, put, record, SEED, segmentHeader, tombstone } from '../support/records.ts'

const PATH = '/disk/scan/file'

const header = segmentHeader(1)

function member(key: string, sequence: number): Buffer {
  return record({ key, value: 'of a batch', sequence, flags: IN_BATCH })
}

/** Returns the options for a scan of a file that holds these bytes after its header. */
function optionsFor(body: Uint8Array, files = new FaultyFiles(1)): ScanOptions {
  files.makeDirectory('/disk/scan')
  files.poke(PATH, Buffer.concat([header, body]))
  const file = files.open(PATH, 'read')
  const from = FILE_HEADER_SIZE
  const to = files.size(file)
  return { files, file, from, to, seed: SEED, ascending: true, batches: 'whole' }
}

/** Scans a file that holds these bytes after its header; returns what it reads. */
function scan(
  body: Uint8Array,
  differing: Partial<ScanOptions> = {},
): { found: string[]; end: ScanEnd } {
  const found: string[] = []
  const end = scanSegment({ ...optionsFor(body), ...differing }, (fields, page, offset) => {
    const key = page.bytes.toString('utf8', fields.keyAt, fields.keyAt + fields.keySize)
    const sign = { [PUT]: '+', [TOMBSTONE]: '-', [BATCH_END]: 'end' }[fields.kind]
    found.push(`${offset - FILE_HEADER_SIZE} ${sign}${key} ${fields.sequence}`)
  })
  return { found, end }
}

/** Returns where in a body the next record begins, from `from` on. */
function find(body: Uint8Array, above: number, from = FILE_HEADER_SIZE): number | undefined {
  const at = findRecord({ ...optionsFor(body), from }, above)
  return at === undefined ? undefined : at - FILE_HEADER_SIZE
}

/** Returns the sizes of the memory that is taken by a call. */
function allocationsOf(call: () => void): number[] {
  const sizes: number[] = []
  watchAllocations((size) => sizes.push(size))
  try {
    call()
  } finally {
    watchAllocations(undefined)
  }
  return sizes
}

const a = put('a', '1', 1)
const b = tombstone('b', 2)
const c = put('c', '', 3, 5000)

describe('a scan', () => {
  it('uses the memory of the scan before it again', () => {
    scan(a)

    const sizes = allocationsOf(() => {
      expect(scan(Buffer.concat([a, b])).found).toHaveLength(2)
      expect(scan(c).found).toEqual(['0 +c 3'])
    })

    expect(sizes).toEqual([])
  })

  it('gives its memory back after a fault, a search, or a visitor that throws', () => {
    const faulty = Buffer.concat([a, Buffer.alloc(20), c])
    const fail = (): never => {
      throw new Error('a visitor')
    }
    scan(faulty)

    const sizes = allocationsOf(() => {
      expect(scan(faulty).end.faultAt).toBeDefined()
      expect(find(faulty, 1, FILE_HEADER_SIZE + a.length)).toBe(a.length + 20)
      expect(() => scanSegment(optionsFor(a), fail)).toThrow('a visitor')
      const files = new LiveFiles(1, () => write(files, FILE_HEADER_SIZE + a.length, faulty))
      scanLive(files, Buffer.concat([a, Buffer.alloc(20)]))
      expect(scan(c).found).toEqual(['0 +c 3'])
    })

    expect(sizes).toEqual([])
  })

  it('takes no more memory than the file has bytes, in powers of two', () => {
    const values = [1, 20, 100, 1000].map((kib) => put('key', 'x'.repeat(kib * 1024), 1))
    const sizes: number[] = []
    for (const record of values) {
      // While a scan goes on, another one finds no memory to use again.
      scanSegment(optionsFor(a), () => {
        sizes.push(...allocationsOf(() => scan(record)))
      })
    }

    const pages = [16, 32, 128, 256].map((kib) => kib * 1024)
    expect(sizes).toEqual([...pages, values.at(-1)?.length])
  })

  it('uses memory of its own if it begins within another', () => {
    const found: string[] = []
    scanSegment(optionsFor(Buffer.concat([a, b, c])), (fields, page) => {
      scan(put('inner', 'x'.repeat(50), 1))
      found.push(page.bytes.toString('utf8', fields.keyAt, fields.keyAt + fields.keySize))
    })

    expect(found).toEqual(['a', 'b', 'c'])
  })

  it('visits every record with its offset', () => {
    const { found, end } = scan(Buffer.concat([a, b, c]))

    expect(found).toEqual(['0 +a 1', `${a.length} -b 2`, `${a.length + b.length} +c 3`])
    expect(end).toEqual({
      end: FILE_HEADER_SIZE + a.length + b.length + c.length,
      faultAt: undefined,
      fault: '',
      maxSequence: 3,
      lastAt: FILE_HEADER_SIZE + a.length + b.length,
      preallocatedSize: 0,
    })
  })

  it('reads nothing from an empty segment', () => {
    expect(scan(Buffer.alloc(0))).toEqual({
      found: [],
      end: {
        end: FILE_HEADER_SIZE,
        faultAt: undefined,
        fault: '',
        maxSequence: 0,
        lastAt: undefined,
        preallocatedSize: 0,
      },
    })
  })

  it('stops before a record that is cut at any byte, even the smallest record', () => {
    const whole = Buffer.concat([a, b])
    for (let size = a.length; size < whole.length; size++) {
      const { found, end } = scan(whole.subarray(0, size))
      expect(found).toEqual(['0 +a 1'])
      expect(end.end).toBe(FILE_HEADER_SIZE + a.length)
      expect(end.faultAt).toBe(size === a.length ? undefined : end.end)
    }
  })

  it('stops at a record with any bit flipped', () => {
    for (const { bytes, at, bit } of flips(b)) {
      const { found, end } = scan(Buffer.concat([a, bytes, c]))
      expect(found, `byte ${at}, bit ${bit}`).toEqual(['0 +a 1'])
      expect(end.faultAt, `byte ${at}, bit ${bit}`).toBe(FILE_HEADER_SIZE + a.length)
    }
  })

  it('stops at zeros', () => {
    const { found, end } = scan(Buffer.concat([a, Buffer.alloc(100)]))

    expect(found).toEqual(['0 +a 1'])
    expect(end).toMatchObject({ faultAt: FILE_HEADER_SIZE + a.length, maxSequence: 1 })
  })

  it('takes zeros up to the end for preallocated, where they may be', () => {
    const preallocatedFrom = FILE_HEADER_SIZE
    const ends = [1, 17, 100, MAX_PREALLOCATION_SIZE].map(
      (size) => scan(Buffer.concat([a, Buffer.alloc(size)]), { preallocatedFrom }).end,
    )

    expect(ends.map(({ preallocatedSize }) => preallocatedSize)).toEqual([
      1,
      17,
      100,
      MAX_PREALLOCATION_SIZE,
    ])
    for (const { end, faultAt } of ends) {
      expect([end, faultAt]).toEqual([FILE_HEADER_SIZE + a.length, undefined])
    }
  })

  it('takes nothing else for preallocated', () => {
    const preallocatedFrom = FILE_HEADER_SIZE
    const faultAt = FILE_HEADER_SIZE + a.length
    const zeros = Buffer.alloc(100)
    const marked = Buffer.from(zeros).fill(1, 99)
    const tooMany = Buffer.alloc(MAX_PREALLOCATION_SIZE + 1)

    expect(scan(Buffer.concat([a, marked]), { preallocatedFrom }).end).toMatchObject({ faultAt })
    expect(scan(Buffer.concat([a, tooMany]), { preallocatedFrom }).end).toMatchObject({ faultAt })
    expect(scan(Buffer.concat([a, zeros]), { preallocatedFrom: faultAt + 1 }).end).toMatchObject({
      faultAt,
    })
    expect(scan(Buffer.concat([a, member('b', 2), zeros]), { preallocatedFrom }).end).toMatchObject(
      {
        end: faultAt,
        preallocatedSize: 0,
        faultAt: expect.any(Number),
      },
    )
  })

  it('does not believe a size that reaches beyond the file', () => {
    const huge = Buffer.from(a)
    huge.writeUInt32LE(2 ** 30, 8)

    const { found, end } = scan(Buffer.concat([huge, b]))

    expect(found).toEqual([])
    expect(end).toMatchObject({ faultAt: FILE_HEADER_SIZE, end: FILE_HEADER_SIZE })
  })

  it('refuses sequences that do not ascend if they must', () => {
    const swapped = Buffer.concat([b, a])

    expect(scan(swapped).end).toMatchObject({
      faultAt: FILE_HEADER_SIZE + b.length,
      fault: 'Sequence 1 follows 2',
    })
    expect(scan(Buffer.concat([a, a])).end.faultAt).toBe(FILE_HEADER_SIZE + a.length)
    expect(scan(swapped, { ascending: false }).found).toHaveLength(2)
  })

  it('reads records that are larger than its window', () => {
    const large = put('large', 'x'.repeat(3 * 1024 * 1024), 1)

    expect(scan(Buffer.concat([large, b])).found).toEqual(['0 +large 1', `${large.length} -b 2`])
  })

  it('takes no memory for a damaged record that says it is large', () => {
    const damaged = put('large', 'x'.repeat(3 * 1024 * 1024), 1).fill(0, 0, 4)
    const options = optionsFor(damaged)
    const window = new Window(options.files, options.file, options.to)

    const end = scanSegment({ ...options, window }, () => undefined)

    expect(end.faultAt).toBe(FILE_HEADER_SIZE)
    expect(window.page.bytes.length).toBeLessThan(1024 * 1024)
  })

  it('ends after the record at which its visitor says so', () => {
    const end = scanSegment(optionsFor(Buffer.concat([a, b, c])), ({ sequence }) =>
      sequence < 2 ? undefined : false,
    )

    expect(end.end).toBe(FILE_HEADER_SIZE + a.length + b.length)
  })
})

describe('a scan of batches', () => {
  const batch = Buffer.concat([member('m', 2), member('n', 3), batchEnd(2, 4)])

  it('visits members once their end is seen, and the end after them', () => {
    const { found, end } = scan(Buffer.concat([a, batch, put('z', '', 5)]))

    expect(found.map((text) => text.split(' ').slice(1).join(' '))).toEqual([
      '+a 1',
      '+m 2',
      '+n 3',
      'end 4',
      '+z 5',
    ])
    expect(end.faultAt).toBeUndefined()
  })

  it('visits nothing of a batch that is cut at any byte', () => {
    for (let size = 1; size < batch.length; size++) {
      const { found, end } = scan(Buffer.concat([a, batch.subarray(0, size)]))
      expect(found, `${size} bytes`).toEqual(['0 +a 1'])
      expect(end.end, `${size} bytes`).toBe(FILE_HEADER_SIZE + a.length)
      expect(end.faultAt, `${size} bytes`).toBeDefined()
    }
  })

  it.each([
    ['an end that counts one more', [member('m', 2), member('n', 3), batchEnd(3, 4)]],
    ['an end that counts one less', [member('m', 2), member('n', 3), batchEnd(1, 4)]],
    ['a gap before its end', [member('m', 2), member('n', 3), batchEnd(2, 5)]],
    ['a gap between its members', [member('m', 2), member('n', 4), batchEnd(2, 5)]],
    ['an end without members', [batchEnd(0, 2)]],
    ['a single write among its members', [member('m', 2), put('n', '', 3), batchEnd(2, 4)]],
  ])('refuses a batch with %s', (_, records) => {
    const { found, end } = scan(Buffer.concat([a, ...records]))

    expect(found).toEqual(['0 +a 1'])
    expect(end.end).toBe(FILE_HEADER_SIZE + a.length)
    expect(end.faultAt).toBeDefined()
  })

  it('holds back any number of members, with memory for one batch alone', () => {
    const count = 100
    const records: Buffer[] = []
    const keys: string[] = []
    for (let sequence = 1; sequence < 30 * (count + 1); sequence++) {
      const isEnd = sequence % (count + 1) === 0
      const key = `${sequence} ${'k'.repeat(100)}`
      records.push(isEnd ? batchEnd(count, sequence) : member(key, sequence))
      if (!isEnd) keys.push(key)
    }
    records.push(batchEnd(count, 30 * (count + 1)))
    const found: string[] = []
    let most = 0

    scanSegment(optionsFor(Buffer.concat(records)), (fields, { bytes }) => {
      if (fields.kind === BATCH_END) return
      found.push(bytes.toString('utf8', fields.keyAt, fields.keyAt + fields.keySize))
      most = Math.max(most, bytes.length)
    })

    expect(found).toEqual(keys)
    expect(most).toBeLessThan(4 * count * 130)
  })

  it('visits each record as it comes if batches are known to be whole', () => {
    const { found } = scan(Buffer.concat([member('n', 3), a]), {
      batches: 'loose',
      ascending: false,
    })

    expect(found).toHaveLength(2)
  })
})

/** Files that another process writes: right before the nth read, `meanwhile` is called. */
class LiveFiles extends FaultyFiles {
  #left: number
  readonly #meanwhile: (files: FaultyFiles) => void

  constructor(nth: number, meanwhile: (files: FaultyFiles) => void) {
    super(1)
    this.#left = nth
    this.#meanwhile = meanwhile
  }

  override read(...call: Parameters<FaultyFiles['read']>): number {
    if (--this.#left === 0) this.#meanwhile(this)
    return super.read(...call)
  }
}

/** Scans as {@link scan} does, but a file that is written meanwhile. */
function scanLive(
  files: LiveFiles,
  body: Uint8Array,
  differing: Partial<ScanOptions> = {},
): { found: number[]; end: ScanEnd } {
  const found: number[] = []
  const options = { ...optionsFor(body, files), preallocatedFrom: FILE_HEADER_SIZE, ...differing }
  const end = scanSegment(options, ({ sequence }) => {
    found.push(sequence)
  })
  return { found, end }
}

function write(files: FaultyFiles, at: number, bytes: Uint8Array): void {
  const file = files.open(PATH, 'write')
  files.write(file, bytes, 0, bytes.length, at)
  files.close(file)
}

describe('a scan of a file that is written meanwhile', () => {
  it('is not misled by preallocated space that it has read a part of before records came', () => {
    // The beginning of the space is read with what precedes it, and all of it a moment later.
    const first = put('first', 'x'.repeat(1024 * 1024 - 100), 1)
    const end = FILE_HEADER_SIZE + first.length
    const files = new LiveFiles(2, () => {
      write(files, end, Buffer.concat([put('a', '1', 2), put('b', '2', 3)]))
    })

    const { found, end: seen } = scanLive(files, Buffer.concat([first, Buffer.alloc(4096)]))

    expect(seen.faultAt).toBeUndefined()
    expect(found).toEqual([1, 2, 3])
  })

  it('reads a record again of which it has read a part before the rest came', () => {
    const half = Buffer.from(c).fill(0, 12)
    const files = new LiveFiles(2, () => write(files, FILE_HEADER_SIZE + a.length, c))

    const { found, end } = scanLive(files, Buffer.concat([a, half, Buffer.alloc(4096)]))

    expect(found).toEqual([1, 3])
    expect(end).toMatchObject({ faultAt: undefined, preallocatedSize: 4096 })
  })

  it('takes preallocated space for the end if it is cut off before it is read', () => {
    const files = new LiveFiles(1, () => {
      const file = files.open(PATH, 'write')
      files.truncate(file, FILE_HEADER_SIZE + a.length)
      files.close(file)
    })

    const { found, end } = scanLive(files, Buffer.concat([a, Buffer.alloc(4096)]))

    expect(found).toEqual([1])
    expect(end.faultAt).toBeUndefined()
  })

  it('ends before what was written meanwhile beyond the preallocated space', () => {
    const record = put('b', 'x'.repeat(100), 2)
    const batch = Buffer.concat([member('b', 2), member('c', 3), batchEnd(2, 4)])
    const damaged = Buffer.from(record).fill(1, record.length - 1)
    const faults = [record, batch, damaged].map((come) => {
      const files = new LiveFiles(1, () => write(files, FILE_HEADER_SIZE + a.length, come))
      const { found, end } = scanLive(files, Buffer.concat([a, Buffer.alloc(50)]))
      expect(found).toEqual([1])
      expect(end.end).toBe(FILE_HEADER_SIZE + a.length)
      return end.faultAt
    })

    expect(faults).toEqual([undefined, undefined, FILE_HEADER_SIZE + a.length])
  })

  it('still stops at a damaged record', () => {
    const files = new LiveFiles(0, () => undefined)

    const { found, end } = scanLive(files, Buffer.concat([a, Buffer.from(b).fill(0, 0, 4), c]))

    expect(found).toEqual([1])
    expect(end).toMatchObject({ faultAt: FILE_HEADER_SIZE + a.length, maxSequence: 1 })
  })
})

describe('the search for a record', () => {
  it('finds the next one after any rubbish', () => {
    for (let size = 1; size < 80; size++) {
      expect(find(Buffer.concat([Buffer.alloc(size, 0xab), b]), 1)).toBe(size)
      expect(find(Buffer.concat([Buffer.alloc(size), b]), 1)).toBe(size)
    }
  })

  it('skips records that are older than what was read', () => {
    expect(find(Buffer.concat([a, b, c]), 1)).toBe(a.length)
    expect(find(Buffer.concat([a, b, c]), 2)).toBe(a.length + b.length)
    expect(find(Buffer.concat([a, b, c]), 3)).toBeUndefined()
  })

  it('ends if the file was cut meanwhile', () => {
    const files = new FaultyFiles(1)
    const options = { ...optionsFor(a, files), from: FILE_HEADER_SIZE + 1, to: 2 ** 20 }

    const at = findRecord(options, 0)

    expect(at).toBeUndefined()
    expect(files.calls.filter(({ kind }) => kind === 'read').length).toBeLessThan(100)
  })

  it('does not find a record that is cut', () => {
    expect(find(Buffer.concat([Buffer.alloc(9), b.subarray(0, -1)]), 1)).toBeUndefined()
  })

  it('does not find a record with a sequence that no file of this size could have reached', () => {
    expect(find(Buffer.concat([Buffer.alloc(9), put('k', '', 2 ** 40)]), 1)).toBeUndefined()
  })
})
