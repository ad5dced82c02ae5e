/** Copies a store consistently while it is written. The backup is a store: to restore, open it. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'firkin'

const directory = await mkdtemp(join(tmpdir(), 'firkin-'))
const store = await open(join(directory, 'store'), { valueEncoding: 'utf8' })
await store.put('page', 'first draft')

const report = await store.backup(join(directory, 'backup'))
console.log(`backed up: ${report.segments} segment, ${report.bytesCopied} bytes copied`)

await store.put('page', 'second draft')
await store.close()

const backup = await open(join(directory, 'backup'), {
  valueEncoding: 'utf8',
  createIfMissing: false,
})
console.log('the backup has the', backup.get('page'))

const { ok, records } = await backup.verify()
console.log(`verified ${records} record: ${ok ? 'sound' : 'damaged'}`)

await backup.close()
await rm(directory, { recursive: true })
