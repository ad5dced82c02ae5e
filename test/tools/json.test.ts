/** Compares the output of `--json` with the shapes that tools/README.md promises. */

import { readFileSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { openCache } from '../../src/cache/cache.ts'
import { systemFiles } from '../../src/io/files.ts'
import { DAMAGES, flip, kindsOf } from './damage.ts'
import { Fixtures, fillTiny, openBytes } from './fixture.ts'
import { linesOf, run } from './run.ts'

const fixtures = new Fixtures()
const PAGE = readFileSync(join(import.meta.dirname, '../../tools/README.md'), 'utf8')

/** The names in an object, and in those within it. */
type Shape = ReadonlyMap<string, { readonly optional: boolean; readonly inner: Shape | undefined }>

/** Reads `{ a, b?, c: { d }, e: [{ f }] }`. */
function parseShape(text: string): Shape {
  const words = text.match(/[\w]+|[{}[\],:?]/g) ?? []
  let at = 0
  const take = (word: string): boolean => {
    if (words[at] !== word) return false
    at++
    return true
  }
  const need = (word: string): void => {
    if (!take(word)) throw new Error(`There is no ${word} at ${words.slice(at).join(' ')}`)
  }
  const object = (): Shape => {
    const shape = new Map<string, { optional: boolean; inner: Shape | undefined }>()
    need('{')
    while (!take('}')) {
      const name = words[at++] ?? ''
      const optional = take('?')
      let inner: Shape | undefined
      if (take(':')) {
        const isList = take('[')
        inner = object()
        if (isList) need(']')
      }
      shape.set(name, { optional, inner })
      take(',')
    }
    return shape
  }
  return object()
}

/** Returns the documented shape of each command. */
function shapes(): Map<string, Shape> {
  const table = PAGE.split('\n## JSON\n')[1]?.split('\n## ')[0] ?? ''
  const shapes = new Map<string, Shape>()
  for (const [, first = '', second = ''] of table.matchAll(/^\| (`.*?`) \| (`.*`) \|$/gm)) {
    const commands = [...first.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name)
    const texts = [...second.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text)
    for (const [index, command] of commands.entries()) {
      shapes.set(command, parseShape(texts[index] ?? texts[0] ?? ''))
    }
  }
  return shapes
}

/** Returns the differences between a value and its shape, and notes the names in it. */
function compare(value: unknown, shape: Shape, path: string, seen: Set<string>): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => compare(each, shape, path, seen))
  const object = value as Record<string, unknown>
  const missing = [...shape].flatMap(([name, { optional }]) =>
    optional || name in object ? [] : [`${path}${name} is missing`],
  )
  const wrong = Object.entries(object).flatMap(([name, inner]) => {
    const known = shape.get(name)
    if (known === undefined) return [`${path}${name} is not documented`]
    seen.add(path + name)
    return known.inner === undefined ? [] : compare(inner, known.inner, `${path}${name}.`, seen)
  })
  return [...missing, ...wrong]
}

function namesOf(shape: Shape, path = ''): string[] {
  return [...shape].flatMap(([name, { inner }]) => [
    path + name,
    ...(inner === undefined ? [] : namesOf(inner, `${path}${name}.`)),
  ])
}

describe('the output of --json', () => {
  it('has the shapes in tools/README.md, with every name there', async () => {
    const documented = shapes()
    const seen = new Map([...documented.keys()].map((command) => [command, new Set<string>()]))
    const see = async (command: string, ...argv: string[]): Promise<void> => {
      const { stdout } = await run([...command.split(' '), ...argv, '--json'], {
        input: '{"key":"k","value":"v"}',
      })
      const shape = documented.get(command)
      if (shape === undefined) throw new Error(`${command} is not documented`)
      expect([command, linesOf(stdout).length > 0]).toEqual([command, true])
      for (const line of linesOf(stdout)) {
        expect(compare(JSON.parse(line), shape, '', seen.get(command) ?? new Set())).toEqual([])
      }
    }
    const [tiny, large] = [await fixtures.tiny(), await fixtures.large()]
    const changed = await fixtures.copyOf(fixtures.tiny())
    const damaged = await fixtures.copyOf(fixtures.large())
    await flip(kindsOf(damaged)['the active segment'], 200)
    const unreadable = await fixtures.copyOf(fixtures.large())
    await flip(kindsOf(unreadable)['a sealed segment'], 200)
    const closed = await fixtures.copyOf(fixtures.large())
    await DAMAGES.missing(kindsOf(closed)['a sealed segment'])
    const unopened = await fixtures.copyOf(fixtures.large())
    await appendFile(kindsOf(unopened)['the manifest'], 'x')
    const torn = await fixtures.copyOf(fixtures.tiny())
    await appendFile(join(torn, '0000000001.segment'), 'half a record')
    const inUse = await fixtures.path()
    await using writer = await openBytes(inUse)
    await fillTiny(writer)
    const cached = await fixtures.path()
    await (await openCache(cached, { maxBytes: 2 ** 20 })).close()
    const backup = await fixtures.path()

    for (const command of ['get', 'scan', 'export']) {
      await see(command, tiny, ...(command === 'get' ? ['session'] : []))
    }
    await see('scan --keys', tiny)
    await see('scan --values', tiny)
    await see('dump', tiny)
    await see('tail', tiny)
    await see('count', tiny)
    await see('put', changed, 'a', 'b')
    await see('delete', changed, 'a')
    await see('verify', damaged)
    await see('inspect', large)
    await see('inspect', closed)
    await see('inspect', inUse)
    await see('inspect', unreadable)
    await see('inspect', cached)
    const type = vi.spyOn(systemFiles, 'fileSystemType').mockReturnValue(0x6969)
    await see('inspect', tiny)
    type.mockRestore()
    await see('merge', large, '--all', '--dry-run')
    await see('merge', unreadable, '--all', '--dry-run')
    await see('import', changed)
    await see('backup', tiny, backup)
    await see('restore', backup, await fixtures.path())
    await see('repair', damaged)
    await see('repair', torn)
    await see('repair', unopened)
    await see('bench', '--keys', '10')

    // A repair fails only on a full disk, and a torn tail beside damage is tested elsewhere.
    const unseen = [
      'repair failure',
      'repair lost.torn.file',
      'repair lost.torn.offset',
      'repair lost.torn.bytes',
    ]
    for (const [command, shape] of documented) {
      const names = namesOf(shape).filter((name) => !unseen.includes(`${command} ${name}`))
      expect([command, names.filter((name) => !seen.get(command)?.has(name))]).toEqual([
        command,
        [],
      ])
    }
  })
})
