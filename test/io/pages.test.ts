import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { canMap } from '../../src/io/mapping.ts'
import {
  givePage,
  HUGE_PAGE_SIZE,
  makeHuge,
  takeHugePage,
  takePage,
  touchAhead,
} from '../../src/io/pages.ts'

const HUGE_PAGES = '/sys/kernel/mm/transparent_hugepage/enabled'
const pagesAvailable = canMap() && process.platform === 'linux'
const hugePagesAvailable = pagesAvailable && !setting(HUGE_PAGES).includes('[never]')

function setting(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '[never]'
  }
}

/** Returns how many bytes of this process lie in huge pages. */
function hugeBytes(): number {
  const [, size = 0] = /^AnonHugePages:\s+(\d+) kB$/m.exec(setting('/proc/self/smaps_rollup')) ?? []
  return Number(size) * 1024
}

/** Blocks without letting the event loop turn. */
function spinUntil<T>(take: () => T | undefined): T | undefined {
  const endsAt = performance.now() + 10_000
  while (performance.now() < endsAt) {
    const taken = take()
    if (taken !== undefined) return taken
  }
  return undefined
}

describe.runIf(pagesAvailable)('a page that is touched ahead', () => {
  it('is ready before the event loop turns, and is all zeros', () => {
    touchAhead()

    const page = spinUntil(takeHugePage)

    expect(page?.length).toBe(HUGE_PAGE_SIZE)
    expect(page?.every((byte) => byte === 0)).toBe(true)
    if (page !== undefined) givePage(page)
  })

  it('is returned once, and only if it was requested', () => {
    expect(takeHugePage()).toBeUndefined()
    touchAhead()
    touchAhead()

    const page = spinUntil(takeHugePage)

    expect(page).toBeDefined()
    expect(takeHugePage()).toBeUndefined()
    if (page !== undefined) givePage(page)
  })

  it.runIf(hugePagesAvailable)('is huge before anyone else has touched it', () => {
    const before = hugeBytes()
    touchAhead()

    const page = spinUntil(takeHugePage)

    expect(hugeBytes() - before).toBe(HUGE_PAGE_SIZE)
    if (page !== undefined) givePage(page)
  })

  it('leaves no file open', async () => {
    await setTimeout(100)
    const before = readdirSync('/proc/self/fd').length
    for (let turn = 0; turn < 3; turn++) {
      touchAhead()
      const page = spinUntil(takeHugePage)
      if (page !== undefined) givePage(page)
    }

    await setTimeout(100)

    expect(readdirSync('/proc/self/fd').length).toBe(before)
  })
})

describe.runIf(pagesAvailable)('a page', () => {
  it('keeps its bytes when it is made huge, and other memory is left alone', () => {
    const page = takePage() ?? new Uint8Array()
    page.fill(7)

    makeHuge(page, true)
    makeHuge(new Uint8Array(10), true)

    expect(page.length).toBe(HUGE_PAGE_SIZE)
    expect(page.every((byte) => byte === 7)).toBe(true)
    givePage(page)
    givePage(new Uint8Array(10))
  })
})

describe.runIf(pagesAvailable)('if the system accepts no advice', () => {
  /** Loads the arena again, with a provider whose `part` fails. */
  async function arenaWithout(part: 'advise' | 'mapMemory') {
    const { mapProvider } = await import('../../src/io/mmap/providers.ts')
    const provider = mapProvider()
    if (provider === undefined) throw new Error('There is no provider')
    const refuse = () => {
      throw new Error(`${part} failed`)
    }
    vi.resetModules()
    vi.doMock('../../src/io/mmap/providers.ts', () => ({
      mapProvider: () =>
        new Proxy(provider, {
          get: (target, name) => {
            const member = Reflect.get(target, name)
            return name === part
              ? refuse
              : typeof member === 'function'
                ? member.bind(target)
                : member
          },
        }),
    }))
    try {
      return await import('../../src/keydir/arena.ts')
    } finally {
      vi.doUnmock('../../src/io/mmap/providers.ts')
    }
  }

  it.each(['advise', 'mapMemory'] as const)(
    'an arena grows and is released, without %s',
    async (part) => {
      const { Arena, CHUNK_SIZE, growEagerly } = await arenaWithout(part)
      const openFiles = readdirSync('/proc/self/fd').length
      const arena = new Arena()
      const words = CHUNK_SIZE / 4
      const grow = () => arena.chunkAt(arena.reserve(words)).fill(arena.chunkCount)

      for (let chunk = 0; chunk < 4; chunk++) grow()
      growEagerly(grow)
      await setTimeout(100)
      grow()

      for (let chunk = 0; chunk < 6; chunk++) {
        expect(arena.chunkAt(chunk * words).every((word) => word === chunk + 1)).toBe(true)
      }
      await setTimeout(100)
      expect(readdirSync('/proc/self/fd').length).toBe(openFiles)
      arena.release()
    },
  )
})

describe.runIf(!pagesAvailable)('without mapping', () => {
  it('there are no pages', () => {
    touchAhead()

    expect(takePage()).toBeUndefined()
    expect(takeHugePage()).toBeUndefined()
  })
})
