/** The language of the shell. */

import { toJson } from './entry.ts'
import { UsageError } from './failure.ts'
import type { Output } from './output.ts'
import type { ByteStore } from './store.ts'
import {
  encodeText,
  escapeBytes,
  escapePieces,
  formatCount,
  formatMoment,
  parseCount,
  parseDuration,
  unescapeBytes,
} from './text.ts'

/** A command of the shell. */
interface Verb {
  readonly usage: string
  readonly meaning: string
  /** The least and the most words after the verb. */
  readonly words: readonly [least: number, most: number]
  run(words: readonly Buffer[]): Promise<void>
}

/** The number of entries that `scan` prints by default. */
const SCAN_LIMIT = 20
/** The most bytes of a word that is printed without quotes. */
const MAX_BARE_SIZE = 64 * 1024
const NOTHING = Buffer.alloc(0)

/** Runs lines of the shell on a store. */
export class ShellLanguage {
  /** Whether `quit` was entered or Ctrl-C pressed. A command that is running ends too. */
  ended = false
  readonly #store: ByteStore
  readonly #output: Output
  readonly #verbs: ReadonlyMap<string, Verb>

  constructor(store: ByteStore, output: Output) {
    this.#store = store
    this.#output = output
    this.#verbs = new Map<string, Verb>([
      [
        'set',
        {
          usage: 'set KEY VALUE [TTL]',
          meaning: 'put a value, for ever or for 10s, 5m, 2h, 7d',
          words: [2, 3],
          run: (words) => this.#set(words),
        },
      ],
      [
        'get',
        {
          usage: 'get KEY',
          meaning: 'print the value of a key',
          words: [1, 1],
          run: (words) => this.#get(words),
        },
      ],
      [
        'delete',
        {
          usage: 'delete KEY',
          meaning: 'delete a key',
          words: [1, 1],
          run: (words) => this.#delete(words),
        },
      ],
      [
        'scan',
        {
          usage: 'scan [PREFIX] [LIMIT]',
          meaning: `print the first entries, ${SCAN_LIMIT} or this many`,
          words: [0, 2],
          run: (words) => this.#scan(words),
        },
      ],
      [
        'stats',
        { usage: 'stats', meaning: 'print figures', words: [0, 0], run: () => this.#stats() },
      ],
      ['help', { usage: 'help', meaning: 'print this', words: [0, 0], run: () => this.#help() }],
      [
        'quit',
        {
          usage: 'quit',
          meaning: 'end',
          words: [0, 0],
          run: async () => {
            this.ended = true
          },
        },
      ],
    ])
  }

  /** Returns completions of a line: the verbs that begin with it. */
  complete(line: string): [completions: string[], of: string] {
    const verbs = [...this.#verbs.keys()].filter((verb) => verb.startsWith(line))
    return [verbs.map((verb) => `${verb} `), line]
  }

  /** Runs a line. @throws UsageError */
  async run(line: string): Promise<void> {
    const [first, ...words] = splitWords(line)
    if (first === undefined) return
    const name = first.toString('utf8')
    const verb = this.#verbs.get(name)
    if (verb === undefined) throw new UsageError(`${name} is not known here; see help`)
    const [least, most] = verb.words
    if (words.length < least || words.length > most) throw new UsageError(`usage: ${verb.usage}`)
    await verb.run(words)
  }

  async #set([key = NOTHING, value = NOTHING, ttl]: readonly Buffer[]): Promise<void> {
    await this.#store.put(
      key,
      value,
      ttl === undefined ? {} : { ttlMs: parseDuration(String(ttl)) },
    )
  }

  async #get([key = NOTHING]: readonly Buffer[]): Promise<void> {
    const value = this.#store.get(key)
    const expiresAt = this.#store.expiresAt(key)
    if (value === undefined || expiresAt === undefined) {
      this.#output.note('There is no such key')
    } else if (this.#output.isJson) {
      await this.#output.json(toJson({ key, value, expiresAt }))
    } else {
      await this.#words(value)
      if (Number.isFinite(expiresAt)) this.#output.note(`It expires at ${formatMoment(expiresAt)}`)
    }
  }

  async #delete([key = NOTHING]: readonly Buffer[]): Promise<void> {
    const wasThere = await this.#store.delete(key)
    if (!wasThere) this.#output.note('There is no such key')
  }

  async #scan([prefix = NOTHING, limit]: readonly Buffer[]): Promise<void> {
    const range = { prefix, limit: limit === undefined ? SCAN_LIMIT : parseCount(String(limit)) }
    for (const [key, value] of this.#store.entries(range)) {
      if (this.ended) break
      const expiresAt = this.#store.expiresAt(key)
      if (expiresAt === undefined) continue
      if (this.#output.isJson) await this.#output.json(toJson({ key, value, expiresAt }))
      else await this.#words(key, value)
    }
  }

  /** Prints a line of words that can be pasted back as input. */
  async #words(...words: readonly Buffer[]): Promise<void> {
    for (const [index, word] of words.entries()) {
      if (index > 0) await this.#output.write('\t')
      for (const piece of wordPieces(word)) await this.#output.write(piece)
    }
    await this.#output.write('\n')
  }

  async #stats(): Promise<void> {
    const stats = this.#store.stats()
    if (this.#output.isJson) return await this.#output.json(stats)
    await this.#output.list([
      ['keys', formatCount(this.#store.count())],
      ['keydir', `${stats.keydir.kind}, ${this.#output.size(stats.keydir.bytes)} of memory`],
      ['segments', formatCount(stats.segments.length)],
      ['live', this.#output.size(stats.liveBytes)],
      ['dead', this.#output.size(stats.deadBytes)],
      ['next sequence', formatCount(stats.nextSequence)],
    ])
  }

  async #help(): Promise<void> {
    await this.#output.list([...this.#verbs.values()].map(({ usage, meaning }) => [usage, meaning]))
    await this.#output.line(
      'A word with spaces goes between double quotes; in them \\n, \\r, \\t, \\\\, \\", \\xff (a byte) and\n' +
        '\\u{1f37a} (a character) stand for what does not show. What is printed can be given back.',
    )
  }
}

/**
 * Yields bytes as a word of a line: in quotes if they would otherwise be read as something else.
 */
function* wordPieces(bytes: Buffer): Generator<string> {
  const isShort = bytes.length <= MAX_BARE_SIZE
  const escaped = isShort ? escapeBytes(bytes) : undefined
  if (escaped !== undefined && /^[^\s"\\]+$/.test(escaped)) {
    yield escaped
    return
  }
  yield '"'
  yield* escapePieces(bytes)
  yield '"'
}

/** Splits a line into words. @throws UsageError for an unclosed quote or an unknown escape */
function splitWords(line: string): Buffer[] {
  const words: Buffer[] = []
  const pattern = /\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]\S*))(?=\s|$)/y
  const text = line.trimEnd()
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex
    const match = pattern.exec(text)
    if (match === null) throw new UsageError(`There is no word at ${text.slice(at).trim()}`)
    const [, quoted, bare = ''] = match
    words.push(quoted === undefined ? encodeText(bare, 'line') : unescapeBytes(quoted))
  }
  return words
}
