import { describe, expect, it } from 'vitest'
import type { KeydirKind } from '../../src/format/keydir-kind.ts'
import { createKeydir, restoreKeydir } from '../../src/keydir/create.ts'
import { describeKeydir } from './contract.ts'

const KINDS: readonly KeydirKind[] = ['btree', 'hash', 'skiplist', 'bplustree']

describe('createKeydir', () => {
  it('refuses an unknown kind', () => {
    expect(() => createKeydir('trie' as KeydirKind)).toThrow(RangeError)
    expect(() => restoreKeydir('trie' as KeydirKind, {}, () => new Uint8Array())).toThrow(
      RangeError,
    )
  })

  it.each(KINDS)('creates a keydir of the kind %s', (kind) => {
    expect(createKeydir(kind).kind).toBe(kind)
  })

  it('refuses to restore a kind that has no image', () => {
    expect(() => restoreKeydir('bplustree', {}, () => new Uint8Array())).toThrow(RangeError)
  })
})

for (const kind of KINDS) {
  describeKeydir(kind, {
    create: () => createKeydir(kind),
    ...(kind !== 'bplustree' && {
      restore: (meta, source) => restoreKeydir(kind, meta, source),
    }),
    ...((kind === 'btree' || kind === 'hash') && { memoryLimit: 32 }),
  })
}
