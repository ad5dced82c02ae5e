import { toJson } from './entry.ts'
import { UsageError } from './failure.ts'
import type { Output } from './output.ts'
import type { ByteStore } from './store.ts'
import { escapeBytes, formatCount, formatMoment, parseCount, parseDuration } from './text.ts'

interface Verb {
  readonly usage: string
  readonly meaning: string
  /** The least and the most words behind the verb. */
  readonly words: readonly [least: number, most: number]
  run(words: readonly string[]): Promise<void>
}

const SCAN_LIMIT = 20

/** What can be said at the prompt. */
export class ShellLanguage {
  /** Whether `quit` was said, or Ctrl-C pressed: what is being done ends, too. */
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
          meaning: `print the first entries, ${SCAN_LIMIT} or so many`,
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

  /** What a line may go on with: the verbs that begin with it. */
  complete(line: string): [completions: string[], of: string] {
    const verbs = [...this.#verbs.keys()].filter((verb) => verb.startsWith(line))
    return [verbs.map((verb) => `${verb} `), line]
  }

  /** Does what a line says. @throws UsageError */
  async run(line: string): Promise<void> {
    const [name, ...words] = splitWords(line)
    if (name === undefined) return
    const verb = this.#verbs.get(name)
    if (verb === undefined) throw new UsageError(`${name} is not known here; see help`)
    const [least, most] = verb.words
    if (words.length < least || words.length > most) throw new UsageError(`usage: ${verb.usage}`)
    await verb.run(words)
  }

  async #set([key = '', value = '', ttl]: readonly string[]): Promise<void> {
    await this.#store.put(
      key,
      Buffer.from(value),
      ttl === undefined ? {} : { ttlMs: parseDuration(ttl) },
    )
  }

  async #get([text = '']: readonly string[]): Promise<void> {
    const key = Buffer.from(text)
    const value = this.#store.get(key)
    const expiresAt = this.#store.expiresAt(key)
    if (value === undefined || expiresAt === undefined) {
      this.#output.note('There is no such key')
    } else if (this.#output.isJson) {
      await this.#output.json(toJson({ key, value, expiresAt }))
    } else {
      const until = Number.isFinite(expiresAt) ? `  (until ${formatMoment(expiresAt)})` : ''
      await this.#output.line(escapeBytes(value) + until)
    }
  }

  async #delete([key = '']: readonly string[]): Promise<void> {
    const wasThere = await this.#store.delete(key)
    if (!wasThere) this.#output.note('There is no such key')
  }

  async #scan([prefix = '', limit]: readonly string[]): Promise<void> {
    const range = { prefix, limit: limit === undefined ? SCAN_LIMIT : parseCount(limit) }
    for (const [key, value] of this.#store.entries(range)) {
      if (this.ended) break
      const expiresAt = this.#store.expiresAt(key)
      if (expiresAt === undefined) continue
      if (this.#output.isJson) await this.#output.json(toJson({ key, value, expiresAt }))
      else await this.#output.line(`${escapeBytes(key)}\t${escapeBytes(value)}`)
    }
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
      'A word with spaces goes between double quotes; in them \\" and \\\\ stand for themselves.',
    )
  }
}

/** The words of a line. @throws UsageError where a quote is not closed */
function splitWords(line: string): string[] {
  const words: string[] = []
  const pattern = /\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]\S*))(?=\s|$)/y
  const text = line.trimEnd()
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex
    const match = pattern.exec(text)
    if (match === null) throw new UsageError(`There is no word at ${text.slice(at).trim()}`)
    words.push(match[1]?.replace(/\\(.)/g, '$1') ?? match[2] ?? '')
  }
  return words
}
