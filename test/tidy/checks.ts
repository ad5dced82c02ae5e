/** The checks of the sources: each returns what it finds as `path:line …`. */

import { dirname, join } from 'node:path'
import { blocksOf, exportsOf, importsOf, titlesOf } from './declarations.ts'
import { blank, type Comment, lineAt, type SourceText } from './source-text.ts'

/** The most columns of a line. */
export const MAX_COLUMNS = 100
/** The most lines of a function, and of a class. */
export const MAX_LINES = { function: 70, class: 450 } as const

/**
 * Finds lines that are too long. Literals and addresses do not count: the formatter breaks a line
 * everywhere else.
 */
export function longLines({ path, text, literals }: SourceText): string[] {
  return blank(text, literals, '')
    .split('\n')
    .flatMap((line, index) => {
      const columns = [...line.replace(/https?:\S+/g, '').trimEnd()].length
      return columns > MAX_COLUMNS ? [`${path}:${index + 1} has ${columns} columns`] : []
    })
}

/** Finds functions and classes that are too long. */
export function longBlocks(source: SourceText): string[] {
  return blocksOf(source)
    .filter(({ kind, lineCount }) => lineCount > MAX_LINES[kind])
    .map(({ kind, name, lineCount }) => `${source.path} ${kind} ${name}: ${lineCount} lines`)
}

/** Finds exports without a docstring. */
export function undocumentedExports(source: SourceText): string[] {
  return exportsOf(source)
    .filter(({ isDocumented }) => !isDocumented)
    .map(({ name, line }) => `${source.path}:${line} ${name}`)
}

/** Finds files that do not begin with a comment that says what they are for. */
export function missingHeaders({ path, text }: SourceText): string[] {
  return /^(?:#!.*\n)?\/\*\*/.test(text) ? [] : [path]
}

/** Finds tests for an instance of a built-in class, which values of another realm fail. */
export function realmTests(source: SourceText): string[] {
  return [...source.code.matchAll(/\binstanceof (\w+)/g)]
    .filter(([, name]) => name !== undefined && name in globalThis)
    .map(({ index, 1: name }) => `${source.path}:${lineAt(source, index)} ${name}`)
}

/**
 * Finds exports of `files` that none of `users` imports.
 *
 * @param entryPoints the files whose own exports are public
 */
export function deadExports(
  files: readonly SourceText[],
  users: readonly SourceText[],
  entryPoints: readonly string[],
): string[] {
  const used = new Set<string>()
  for (const user of users) {
    for (const { path, names } of importsOf(user)) {
      const target = resolveImport(user.path, path)
      if (target !== user.path) for (const name of names) used.add(`${target} ${name}`)
    }
  }
  return files
    .filter(({ path }) => !entryPoints.includes(path) && !used.has(`${path} *`))
    .flatMap((file) =>
      exportsOf(file)
        .filter(({ name }) => !used.has(`${file.path} ${name}`))
        .map(({ name, line }) => `${file.path}:${line} ${name}`),
    )
}

/** Finds a cycle of imports among `files` for each that lies on one, as the paths along it. */
export function importCycles(files: readonly SourceText[]): string[] {
  const paths = new Set(files.map(({ path }) => path))
  const targets = new Map(
    files.map((file) => [
      file.path,
      importsOf(file)
        .map(({ path }) => resolveImport(file.path, path))
        .filter((path) => paths.has(path)),
    ]),
  )
  const cycles = new Map<string, string>()
  for (const { path } of files) {
    const cycle = shortestPath(path, path, targets)
    if (cycle !== undefined) cycles.set([...cycle].sort().join(), [...cycle, path].join(' -> '))
  }
  return [...cycles.values()]
}

/** Returns the shortest way along imports from a file to another, without the latter. */
function shortestPath(
  from: string,
  to: string,
  targets: ReadonlyMap<string, readonly string[]>,
): readonly string[] | undefined {
  const seen = new Set<string>()
  for (let ways: string[][] = [[from]]; ways.length > 0; ) {
    const next: string[][] = []
    for (const way of ways) {
      for (const target of targets.get(way.at(-1) ?? '') ?? []) {
        if (target === to) return way
        if (!seen.has(target)) next.push([...way, target])
        seen.add(target)
      }
    }
    ways = next
  }
  return undefined
}

/** Returns the path of an imported file, below the project; the build stands for its sources. */
export function resolveImport(importer: string, path: string): string {
  if (!path.startsWith('.')) return path
  return join(dirname(importer), path)
    .replace(/^dist\//, '')
    .replace(/\.js$/, '.ts')
}

/** A pattern that plain English does without, and its replacement. */
type Ban = readonly [pattern: RegExp, instead: string]

const BANNED_WORDS: readonly Ban[] = [
  [/\banew\b/i, 'again'],
  [/\bso many\b/i, 'up to N'],
  [/\bbut for\b/i, 'except'],
  [/\broom\b/i, 'space'],
  [/\bhas to itself\b/i, 'holds'],
  [
    /(?<!\bthere )\b(?:is|are) no (?!(?:longer|more|less|fewer|earlier|later|older|newer|larger|smaller|better|worse)\b)\S+/i,
    'is not a',
  ],
  [/^Answers\b|(?:\band|[,;]) answers (?:an?|the) /, 'returns'],
  [/\banswers (?:how|what|whether|which|why|if|undefined|true|false)\b/, 'returns'],
  [/\btells (?:how|what|whether|when|that|of)\b/i, 'reports'],
  [
    /, for (?:(?:the|a|an|its|their|no|this) )?(?!what|which|who|all|that)\w+ (?:is|are|was|were|has|have|may|can|cannot|does|do|would)\b/,
    'because',
  ],
  [
    /(?<!\b(?:leav|left|fall|fell|lag|far|stay|clock|merg|follow)\w*(?: \S+){0,3} )\bbehind\b(?! (?:a symbolic link|(?:\S+ )?back)\b)/i,
    'after',
  ],
]
/** First words of a docstring. */
const BANNED_BEGINNINGS: readonly Ban[] = [[/^What /, 'a verb or a noun']]
/** First words of the docstring of a file, a class or an interface. */
const BANNED_HEADINGS: readonly Ban[] = [[/^(?:How|Whether) /, 'a verb or a noun']]

/** Finds words and phrases that plain English does without, in comments and test titles. */
export function bannedWords(source: SourceText): string[] {
  const texts = [
    ...source.comments.map((comment) => ({
      line: lineAt(source, comment.start),
      text: comment.text,
      bans: [
        ...BANNED_WORDS,
        ...(comment.isDoc ? BANNED_BEGINNINGS : []),
        ...(comment.isDoc && isHeading(source, comment) ? BANNED_HEADINGS : []),
      ],
    })),
    ...titlesOf(source).map(({ line, text }) => ({ line, text, bans: BANNED_WORDS })),
  ]
  return texts.flatMap(({ line, text, bans }) => {
    // Names in a comment are code: one may be called `room`.
    const words = text.replace(/`[^`]*`/g, '``')
    return bans.flatMap(([pattern, instead]) => {
      const found = pattern.exec(words)?.[0].trim()
      return found === undefined ? [] : [`${source.path}:${line} "${found}" (rather: ${instead})`]
    })
  })
}

/** Whether a docstring is that of a file, a class or an interface. */
function isHeading({ text }: SourceText, { start, end }: Comment): boolean {
  return start === 0 || /^\s*(?:export )?(?:abstract )?(?:class|interface)\b/.test(text.slice(end))
}
