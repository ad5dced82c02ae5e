/** Hints of sealed segments, and the thread that makes them. */

import { EventEmitter } from 'node:events'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { systemFiles } from '../../src/io/files.ts'
import { threadWork } from '../../src/merge/thread.ts'
import { Store } from '../../src/store/store.ts'
import { withDirectory } from '../support/directory.ts'
import { directoryIdOf } from '../support/held.ts'
import { inProcessWork } from '../support/in-process-work.ts'
import { KIB } from '../support/store.ts'

/** Plays the part of a thread. */
let play: ((worker: EventEmitter, port: EventEmitter) => void) | undefined

class PlayedPort extends EventEmitter {
  unref(): void {}
  close(): void {}
}

let port = new PlayedPort()

class PlayedChannel {
  readonly port1 = new PlayedPort()
  readonly port2 = new PlayedPort()

  constructor() {
    port = this.port1
  }
}

class PlayedWorker extends EventEmitter {
  constructor() {
    super()
    setImmediate(() => play?.(this, port))
  }

  unref(): void {}
}

/** Lets threads be played until the test ends. */
function playThreads(): void {
  const real = process.getBuiltinModule.bind(process)
  const played = {
    ...real('node:worker_threads'),
    Worker: PlayedWorker,
    MessageChannel: PlayedChannel,
    receiveMessageOnPort: () => undefined,
  }
  const spy = vi
    .spyOn(process, 'getBuiltinModule')
    .mockImplementation((id: string) => (id === 'node:worker_threads' ? played : real(id)))
  onTestFinished(() => {
    spy.mockRestore()
    play = undefined
  })
}

const JOB = {
  directoryId: directoryIdOf(systemFiles, '/'),
  storeId: new Uint8Array(8),
  id: 1,
  origin: 'appended',
  size: 9,
} as const

/** Returns the errors that a store reports if its hints fail with `reason`. */
async function toldOf(reason: unknown): Promise<Error[]> {
  const errors: Error[] = []
  await withDirectory(async (directory) => {
    const backgroundWork = {
      ...inProcessWork(systemFiles),
      hint: () => Promise.reject(reason),
    }
    const options = { maxSegmentBytes: 64 * KIB, merge: { automatic: false } }
    const store = await Store.open(directory, options, { files: systemFiles, backgroundWork })
    store.on('error', (error) => errors.push(error))
    await store.put('a', 'x'.repeat(60 * KIB))
    await store.put('b', 'x'.repeat(60 * KIB))
    await store.close()
  })
  return errors
}

describe('a hint that cannot be made', () => {
  it.each([
    ['an error of the system', Object.assign(new Error('out of memory'), { code: 'ERR_X' })],
    ['an error without a code', new Error('out of memory')],
    ['a thrown string', 'out of memory'],
  ])('is reported with its segment and its reason, after %s', async (_name, reason) => {
    const errors = await toldOf(reason)

    expect(errors).toEqual([
      expect.objectContaining({
        code: 'FIRKIN_IO_FAILED',
        message: 'The hint of segment 1 cannot be made: out of memory',
        cause: reason,
      }),
    ])
  })
})

describe('a thread', () => {
  beforeEach(playThreads)

  it('has made its hints when it ends without an error', async () => {
    play = (worker) => worker.emit('exit', 0)

    await expect(threadWork.hint(JOB)).resolves.toBeUndefined()
  })

  it('that dies rejects with its own error, or with its exit code', async () => {
    const died = new Error('Worker terminated due to reaching memory limit')
    play = (worker) => {
      worker.emit('error', died)
      worker.emit('exit', 1)
    }
    await expect(threadWork.hint(JOB)).rejects.toBe(died)
    play = (worker) => worker.emit('exit', 9)
    await expect(threadWork.hint(JOB)).rejects.toThrow('The merge thread ended with code 9')
  })

  it('whose message cannot be read rejects with the reason', async () => {
    const unreadable = new Error('Unable to deserialize cloned data')
    play = (worker, port) => {
      port.emit('messageerror', unreadable)
      worker.emit('exit', 0)
    }

    await expect(threadWork.hint(JOB)).rejects.toBe(unreadable)
  })
})
