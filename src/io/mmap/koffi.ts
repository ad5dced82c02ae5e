/**
 * Maps memory by calls of the C library, through the package `koffi`.
 *
 * Unmapping: a mapping must go once nobody can read its memory any more, and must not keep the
 * space of a deleted file until the garbage collector runs. If an `ArrayBuffer` can be detached
 * (Node 22 and later), it is, so that whoever still holds it finds nothing, and the memory is
 * unmapped. If not, memory of zeros replaces the file at the same address, and the collector unmaps
 * that. A thread does either: freeing the pages of a deleted file of 128 MiB takes some 50 ms.
 *
 * Threads: a collector that ends with its thread unmaps nothing. So a worker thread maps only if it
 * can detach.
 */

import type { FileDescriptor } from '../files.ts'
import { type Address, type Koffi, loadKoffi, type NativeFunction } from '../koffi.ts'
import type { MapProvider } from './provider.ts'

/** An `ArrayBuffer` that can be detached. */
interface Detachable {
  transfer(size: number): ArrayBuffer
}

const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 1
const MAP_PRIVATE = 2
const MAP_FIXED = 0x10
const MAP_ANONYMOUS = process.platform === 'darwin' ? 0x1000 : 0x20
const MAP_NORESERVE = process.platform === 'darwin' ? 0x40 : 0x4000
const NO_FILE = -1

const canDetach = 'transfer' in ArrayBuffer.prototype

/**
 * Returns the provider; `undefined` if the package is not installed, or does not work on this
 * platform or thread.
 */
export function createKoffiProvider(): MapProvider | undefined {
  if (!canDetach && !process.getBuiltinModule('node:worker_threads').isMainThread) return undefined
  const koffi = loadKoffi()
  try {
    return koffi && new KoffiProvider(koffi)
  } catch {
    // There is a function that its C library does not have.
    return undefined
  }
}

class KoffiProvider implements MapProvider {
  readonly name = 'koffi'
  readonly #koffi: Koffi
  readonly #mmap: NativeFunction
  readonly #munmap: NativeFunction
  readonly #madvise: NativeFunction
  /** The address of each mapping, by its memory. */
  readonly #addresses = new WeakMap<ArrayBufferLike, Address>()
  /** Unmaps memory that the garbage collector has found. */
  readonly #collected = new FinalizationRegistry<{ address: Address; size: number }>(
    ({ address, size }) => void this.#munmap(address, size),
  )

  constructor(koffi: Koffi) {
    this.#koffi = koffi
    const library = koffi.load(null)
    this.#mmap = library.func(
      'intptr_t mmap(intptr_t address, size_t size, int protection, int flags, int file, int64_t offset)',
    )
    this.#munmap = library.func('int munmap(intptr_t address, size_t size)')
    this.#madvise = library.func('int madvise(intptr_t address, size_t size, int advice)')
  }

  mapFile(file: FileDescriptor, size: number): Buffer {
    return this.#map(size, PROT_READ, MAP_SHARED, file)
  }

  mapMemory(size: number): Buffer {
    return this.#map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NO_FILE)
  }

  advise(bytes: Uint8Array, advice: number): void {
    const address = this.#addressOf(bytes)
    if (Number(this.#madvise(address, bytes.length, advice)) !== 0) throw this.#error('madvise')
  }

  async unmap({ buffer }: Uint8Array): Promise<void> {
    const address = this.#addresses.get(buffer)
    const size = buffer.byteLength
    if (address === undefined || size === 0) return
    if (canDetach) {
      this.#collected.unregister(buffer)
      ;(buffer as unknown as Detachable).transfer(0)
      await call(this.#munmap, address, size)
      return
    }
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE
    await call(this.#mmap, address, size, PROT_READ, flags, NO_FILE, 0)
    // Until here it must not be collected: whatever lies at that address by then would be replaced.
    this.#addresses.delete(buffer)
  }

  #map(size: number, protection: number, flags: number, file: FileDescriptor): Buffer {
    const address = this.#mmap(0, size, protection, flags, file, 0)
    if (Number(address) === -1) throw this.#error('mmap')
    let buffer: ArrayBuffer
    try {
      buffer = this.#koffi.view(address, size)
    } catch (error) {
      // A runtime that keeps its memory in a cage accepts none from elsewhere.
      this.#munmap(address, size)
      throw error
    }
    this.#addresses.set(buffer, address)
    this.#collected.register(buffer, { address, size }, buffer)
    return Buffer.from(buffer)
  }

  #addressOf({ buffer, byteOffset }: Uint8Array): Address {
    const address = this.#addresses.get(buffer)
    if (address === undefined) throw new Error('This memory was not mapped here')
    return typeof address === 'bigint' ? address + BigInt(byteOffset) : address + byteOffset
  }

  #error(name: string): Error {
    return new Error(`${name} failed with errno ${this.#koffi.errno()}`)
  }
}

/** Calls a function in a thread. */
function call(native: NativeFunction, ...args: (number | bigint)[]): Promise<void> {
  return new Promise((resolve) => {
    // Memory that cannot be unmapped stays where it is, which harms nobody.
    native.async(...args, () => resolve())
  })
}
