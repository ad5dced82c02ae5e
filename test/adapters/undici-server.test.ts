/**
 * Tests of the cache interceptor of undici 7 and 8 over a Firkin store, in front of a real server.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as undici7 from 'undici'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FirkinCacheStore } from '../../src/adapters/undici.ts'
import { withDirectory } from '../support/directory.ts'

const OPTIONS = { maxSize: 8 * 2 ** 20, maxEntrySize: 512 * 1024, clock: () => Date.now() }
const PIECE = 'piece '.repeat(5000)

/** The releases of undici that this Node runs; undici 8 needs Node 22.19. */
const RELEASES = [['7', undici7]] as [string, typeof undici7][]
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major > 22 || (major === 22 && minor >= 19)) {
  RELEASES.push(['8', (await import('undici-8')) as unknown as typeof undici7])
}

afterEach(() => {
  vi.useRealTimers()
})

describe.each(RELEASES)('the cache interceptor of undici %s', (_, undici) => {
  const withServer = serverOf(undici)

  it('fetches once and then serves from the store, even after a restart', async () => {
    await withServer(
      (_, response) => {
        response.setHeader('cache-control', 'max-age=60')
        for (let count = 0; count < 10; count++) response.write(PIECE)
        response.end()
      },
      async ({ get, restart, requests }) => {
        expect(await get('/')).toMatchObject({ status: 200, body: PIECE.repeat(10) })
        const second = await get('/')
        await restart()
        const third = await get('/')

        expect(second).toMatchObject({ status: 200, body: PIECE.repeat(10) })
        expect(third).toMatchObject({ status: 200, body: PIECE.repeat(10) })
        expect(second.headers.get('age')).not.toBeNull()
        expect(third.headers.get('age')).not.toBeNull()
        expect(requests).toHaveLength(1)
      },
    )
  })

  it('separates responses by vary, over a restart', async () => {
    await withServer(
      (request, response) => {
        response.setHeader('cache-control', 'max-age=60')
        response.setHeader('vary', 'Accept-Language')
        response.end(`in ${request.headers['accept-language']}`)
      },
      async ({ get, restart, requests }) => {
        for (const language of ['de', 'en', 'de']) {
          const { body } = await get('/', { headers: { 'accept-language': language } })
          expect(body).toBe(`in ${language}`)
        }
        await restart()
        for (const language of ['en', 'de', 'fr']) {
          const { body } = await get('/', { headers: { 'accept-language': language } })
          expect(body).toBe(`in ${language}`)
        }

        expect(requests.map(({ headers }) => headers['accept-language'])).toEqual([
          'de',
          'en',
          'fr',
        ])
      },
    )
  })

  it('revalidates a stale response by its etag, and serves the stored body', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    await withServer(
      (request, response) => {
        response.setHeader('cache-control', 'max-age=60')
        response.setHeader('etag', '"one"')
        if (request.headers['if-none-match'] === '"one"') response.writeHead(304).end()
        else response.end(PIECE)
      },
      async ({ get, restart, requests }) => {
        expect(await get('/')).toMatchObject({ status: 200, body: PIECE })
        await restart()
        vi.setSystemTime(Date.now() + 90_000)

        expect(await get('/')).toMatchObject({ status: 200, body: PIECE })

        expect(requests.map(({ headers }) => headers['if-none-match'])).toEqual([
          undefined,
          '"one"',
        ])
      },
    )
  })

  it('serves a stale response while it revalidates, and stores the new one', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    let version = 1
    await withServer(
      (_, response) => {
        response.setHeader('cache-control', 'max-age=10, stale-while-revalidate=60')
        response.setHeader('etag', `"${version}"`)
        response.end(`version ${version}`)
      },
      async ({ get, restart, requests, store }) => {
        expect(await get('/')).toMatchObject({ body: 'version 1' })
        await restart()
        version = 2
        vi.setSystemTime(Date.now() + 30_000)
        const { sets } = store().cache.stats()

        const stale = await get('/')
        await vi.waitFor(() => expect(store().cache.stats().sets).toBeGreaterThan(sets + 1))

        expect(stale).toMatchObject({ body: 'version 1' })
        expect(stale.headers.get('warning')).toContain('110')
        expect(await get('/')).toMatchObject({ body: 'version 2' })
        expect(requests).toHaveLength(2)
      },
    )
  })

  it('keeps the body when a background revalidation finds it unchanged', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    await withServer(
      (request, response) => {
        response.setHeader('cache-control', 'max-age=10, stale-while-revalidate=60')
        response.setHeader('etag', '"one"')
        if (request.headers['if-none-match'] === '"one"') response.writeHead(304).end()
        else response.end(PIECE)
      },
      async ({ get, requests, store }) => {
        expect(await get('/')).toMatchObject({ body: PIECE })
        vi.setSystemTime(Date.now() + 30_000)
        const { sets } = store().cache.stats()
        expect(await get('/')).toMatchObject({ body: PIECE })
        await vi.waitFor(() => expect(store().cache.stats().sets).toBeGreaterThan(sets + 1))

        const fresh = await get('/')

        expect(fresh).toMatchObject({ status: 200, body: PIECE })
        expect(fresh.headers.get('warning')).toBeNull()
        expect(requests).toHaveLength(2)
      },
    )
  })

  it('drops the response to a URL after a POST to it', async () => {
    await withServer(
      (_, response) => {
        response.setHeader('cache-control', 'max-age=60')
        response.end('text')
      },
      async ({ get, restart, requests }) => {
        await get('/')
        await get('/other')
        await get('/', { method: 'POST', body: 'change' })
        await restart()

        await get('/')
        await get('/other')

        expect(requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
          'GET /',
          'GET /other',
          'POST /',
          'GET /',
        ])
      },
    )
  })

  it.each([
    ['too large', 'max-age=60', 100],
    ['marked no-store', 'no-store', 1],
    ['cut short', 'max-age=60', 0],
  ])('serves a response that is %s, and does not store it', async (_, cacheControl, count) => {
    await withServer(
      (__, response) => {
        response.setHeader('cache-control', cacheControl)
        response.write('begin')
        for (let index = 0; index < count; index++) response.write(PIECE)
        if (count === 0) response.destroy()
        else response.end()
      },
      async ({ get, requests, store }) => {
        for (let turn = 0; turn < 2; turn++) {
          if (count === 0) await expect(get('/')).rejects.toThrow()
          else expect((await get('/')).body).toHaveLength(5 + count * PIECE.length)
        }

        expect(requests).toHaveLength(2)
        expect(store().cache.stats().entries).toBe(0)
      },
    )
  })
})

interface Fixture {
  get(
    path: string,
    init?: { method?: string; body?: string; headers?: Record<string, string> },
  ): Promise<{
    status: number
    headers: Headers
    body: string
  }>
  /** Closes the store and opens it again. */
  restart(): Promise<void>
  readonly requests: readonly IncomingMessage[]
  store(): FirkinCacheStore
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void

/** Returns a function that runs a test in front of a server, over a release of undici. */
function serverOf(undici: typeof undici7) {
  return (answer: Answer, use: (fixture: Fixture) => Promise<void>) =>
    withServer(undici, answer, use)
}

async function withServer(
  { Agent, fetch, interceptors }: typeof undici7,
  answer: Answer,
  use: (fixture: Fixture) => Promise<void>,
): Promise<void> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    request.resume()
    // Node's own date goes by a clock that tests cannot set.
    response.setHeader('date', new Date().toUTCString())
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const agent = new Agent()
  await withDirectory(async (directory) => {
    let store = await FirkinCacheStore.open(directory, OPTIONS)
    let dispatcher: undici7.Dispatcher = agent.compose(interceptors.cache({ store }))
    try {
      await use({
        async get(path, init) {
          const url = `http://127.0.0.1:${port}${path}`
          const response = await fetch(url, { ...init, dispatcher })
          const { status, headers } = response
          return { status, headers: headers as unknown as Headers, body: await response.text() }
        },
        async restart() {
          await store.close()
          store = await FirkinCacheStore.open(directory, OPTIONS)
          dispatcher = agent.compose(interceptors.cache({ store }))
        },
        requests,
        store: () => store,
      })
    } finally {
      await store.close()
      await agent.destroy()
      server.closeAllConnections()
      server.close()
    }
  })
}
