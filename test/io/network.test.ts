/** Which file systems may lie on another machine, and how a directory's is found. */

import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Files, systemFiles } from '../../src/io/files.ts'
import { describeType, networkType, networkTypeOf } from '../../src/io/network.ts'
import { withDirectory } from '../support/directory.ts'

describe('the type of a file system', () => {
  it.each([
    [0x6969, 'NFS, a network file system'],
    [0x517b, 'SMB, a network file system'],
    [0xff534d42, 'CIFS, a network file system'],
    [0xfe534d42, 'SMB2, a network file system'],
    [0x00c36400, 'Ceph, a network file system'],
    [0x01021997, '9p, which may be a network file system'],
    [0x65735546, 'FUSE, which may be a network file system'],
    [0x5346414f, 'AFS, a network file system'],
    [0x0bd00bd0, 'Lustre, a network file system'],
    [0x47504653, 'GPFS, a network file system'],
    [0x73757245, 'Coda, a network file system'],
    [0x564c, 'NCP, a network file system'],
  ])('%i is that of %s, signed and unsigned', (type, words) => {
    const unsigned = networkType(type)
    const signed = networkType(type | 0)

    expect(unsigned === undefined ? '' : describeType(unsigned)).toBe(words)
    expect(signed).toBe(unsigned)
  })

  it.each([
    ['ext4', 0xef53],
    ['xfs', 0x58465342],
    ['btrfs', 0x9123683e],
    ['tmpfs', 0x01021994],
    ['overlay', 0x794c7630],
    ['zfs', 0x2fc12fc1],
    ['nothing', 0],
  ])('may not be on another machine if it is that of %s', (_, type) => {
    expect(networkType(type)).toBeUndefined()
  })
})

/** Files of which only the type of some directories is known. */
function withTypes(types: Record<string, number | string>): { files: Files; asked: string[] } {
  const asked: string[] = []
  const files: Files = {
    ...systemFiles,
    fileSystemType(directory) {
      asked.push(directory)
      const type = types[directory] ?? 'ENOENT'
      if (typeof type === 'number') return type
      throw Object.assign(new Error(type), { code: type })
    },
  }
  return { files, asked }
}

describe('the file system of a directory', () => {
  it('is that of the nearest directory above it, if it does not exist yet', () => {
    const { files, asked } = withTypes({ '/a': 0x6969, '/': 0xef53 })

    expect(networkTypeOf(files, '/a/b/c')?.name).toBe('NFS')
    expect(asked).toEqual(['/a/b/c', '/a/b', '/a'])
  })

  it.each(['EACCES', 'ENOTDIR', 'EIO', 'ENOSYS', 'ERR_ACCESS_DENIED'])(
    'is not known if the system fails with %s',
    (code) => {
      const { files, asked } = withTypes({ '/a/b': code, '/a': 0x6969 })

      expect(networkTypeOf(files, '/a/b')).toBeUndefined()
      expect(asked).toEqual(['/a/b'])
    },
  )

  it('is not known if not even the root says', () => {
    const { files, asked } = withTypes({})

    expect(networkTypeOf(files, '/a')).toBeUndefined()
    expect(asked).toEqual(['/a', '/'])
  })

  it.runIf(process.platform === 'linux')('is what the system says, as 32 bits', async () => {
    await withDirectory(async (directory) => {
      expect(systemFiles.fileSystemType(directory)).toBe(statfsSync(directory).type)
      expect(() => systemFiles.fileSystemType(join(directory, 'a'))).toThrow('ENOENT')
    })
  })
})
