/**
 * A process that opens a store, and writes and merges until it is killed. On descriptor 3 it
 * reports each commit before it begins and after it settles. The operating system has a report
 * before anything follows it.
 */

import { writeSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { type Files, systemFiles } from '../../src/io/files.ts'
import { threadWork } from '../../src/merge/thread.ts'
import { Store } from '../../src/store/store.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { Random } from '../support/random.ts'
import { digestOf } from './digest.ts'
import { Load } from './load.ts'
import type { Moment, Order, Report } from './order.ts'

const REPORTS = 3

const order: Order = JSON.parse(await text(process.stdin))

const files =
  order.selfKill === undefined
    ? systemFiles
    : mortalFiles(systemFiles, order.selfKill.nth, order.selfKill.moment)
// The clock stands still while the store is opened and read.
let frozenMs: number | undefined = Date.now()
const store = await Store.open<string, 'utf8'>(
  order.directory,
  {
    valueEncoding: 'utf8',
    keydir: order.keydir,
    sync: order.sync,
    syncIntervalMs: 20,
    maxSegmentBytes: order.maxSegmentBytes,
    merge: order.merge,
    expiryIntervalMs: 5,
    clock: () => frozenMs ?? Date.now(),
  },
  {
    files,
    backgroundWork: order.selfKill === undefined ? threadWork : inProcessWork(files),
  },
)
store.on('error', (error) => report(['wrong', String(error.stack)]))
store.on('merge', ({ phase }) => report(['merge', phase]))
report(['opened', digestOf(store.entries()), frozenMs])
frozenMs = undefined
if (order.writes) {
  const load = new Load(store, new Random(order.seed), order.firstNumber, report)
  await load.run(order.closeAfter)
}
report(['closing'])
await store.close()
report(['closed'])

function report(report: Report): void {
  const line = Buffer.from(`${JSON.stringify(report)}\n`)
  for (let at = 0; at < line.length; ) at += writeSync(REPORTS, line, at)
}

/**
 * Returns files whose nth call, or the first write from then on, is the last act of this process.
 */
function mortalFiles(target: Files, nth: number, moment: Moment): Files {
  let count = 0
  return new Proxy(target, {
    get(files, name) {
      const call = Reflect.get(files, name)
      if (typeof call !== 'function') return call
      return (...args: unknown[]) => {
        if (++count < nth || (moment === 'half-way' && name !== 'write')) {
          return Reflect.apply(call, files, args)
        }
        if (moment === 'half-way') {
          const [file, source, at, size, position] = args as Parameters<Files['write']>
          files.write(file, source, at, size >> 1, position)
        }
        if (moment === 'after') Reflect.apply(call, files, args)
        return process.kill(process.pid, 'SIGKILL')
      }
    },
  })
}
