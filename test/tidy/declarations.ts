/** Finds functions, classes, exports, imports and test titles in a source file. */

import { lineAt, type SourceText } from './source-text.ts'

/** A function, method, callback or class. */
export interface Block {
  readonly kind: 'function' | 'class'
  /** Its name, or its first line if it has none. */
  readonly name: string
  /** The number of its first line, without the docstring. */
  readonly line: number
  readonly lineCount: number
}

/** An export that the file declares, at its first declaration. */
export interface Export {
  readonly name: string
  readonly line: number
  readonly isDocumented: boolean
}

/** An import, or an export from another file. */
export interface Import {
  /** The path as the source has it. */
  readonly path: string
  /** The names in the other file; `*` stands for all of them. */
  readonly names: readonly string[]
}

/** The title of a test or of a group of tests. */
export interface Title {
  readonly line: number
  readonly text: string
}

const CONTROL = /^(?:\} )?(?:if|else|for|while|switch|case|catch|try|finally|do)\b/
const ARROW = /=> \{$/
/** The end of a head, if the head is one line and if not. */
const HEAD = /\)(?:: .*)? \{$/
const HEAD_END = /^[)}>](?:.*\))?(?:: .*|>)? \{$/
const CLASS = /^(?:export )?(?:return |const \w+ = )?(?:abstract )?class\b(?: (\w+))?/

/**
 * Finds the functions and classes of a file, including those inside others.
 *
 * Relies on the formatter: a block ends with the next line of the same indentation that begins with
 * a brace, and the line that opens it ends with one.
 */
export function blocksOf({ code, text }: SourceText): Block[] {
  const lines = code.split('\n').map((line) => line.trimEnd())
  const indents = lines.map((line) => line.search(/\S/))
  const nextAt = (from: number, indent: number): number =>
    lines.findIndex((line, at) => at > from && indents[at] === indent && line[indent] === '}')
  const blocks: Block[] = []
  for (const [at, line] of lines.entries()) {
    const indent = indents[at] ?? -1
    if (indent === -1) continue
    const words = line.slice(indent)
    const first = isHeadEnd(words) ? firstLineOf(at, indent) : at
    const firstWords = lines[first]?.slice(indent) ?? ''
    const named = CLASS.exec(words)
    const isFunction = ARROW.test(words) || HEAD.test(words) || isHeadEnd(words)
    if (named === null && (!isFunction || CONTROL.test(firstWords))) continue
    const end = nextAt(at, indent)
    if (end === -1) continue
    const name = named?.[1] ?? /(?:^|[ #])([\w$]+)(?:<.*>)?(?: = .*)?\(/.exec(firstWords)?.[1]
    blocks.push({
      kind: named === null ? 'function' : 'class',
      name: name ?? (text.split('\n')[first] ?? '').trim(),
      line: first + 1,
      lineCount: end - first + 1,
    })
  }
  return blocks

  /** Returns the first line of a head whose last line is `at`. */
  function firstLineOf(at: number, indent: number): number {
    return lines.findLastIndex(
      (line, index) => index < at && indents[index] === indent && !/[)}>]/.test(line[indent] ?? ''),
    )
  }
}

function isHeadEnd(words: string): boolean {
  return HEAD_END.test(words) && !CONTROL.test(words)
}

const EXPORT =
  /^export (?:default )?(?:async )?(?:abstract )?(?:function\*?|class|interface|type|const|let|enum) (\w+)/gm
const EXPORT_LIST = /^export (?:type )?\{([^}]*)\}(?! from)/gm

/** Finds the exports that a file declares. */
export function exportsOf(source: SourceText): Export[] {
  const { code, text, comments } = source
  const found = new Map<string, Export>()
  for (const { index, 1: name = '' } of code.matchAll(EXPORT)) {
    if (found.has(name)) continue
    const isDocumented = comments.some(
      ({ isDoc, end }) => isDoc && end < index && /^\n(?:\/\/.*\n)*$/.test(text.slice(end, index)),
    )
    found.set(name, { name, line: lineAt(source, index), isDocumented })
  }
  for (const { index, 1: list = '' } of code.matchAll(EXPORT_LIST)) {
    for (const name of namesIn(list, 'exported')) {
      found.set(name, { name, line: lineAt(source, index), isDocumented: true })
    }
  }
  return [...found.values()]
}

const IMPORT = /^(?:import|export)\b([^'"`]*?)\bfrom\s+'([^']+)'/gm
const IMPORT_CALL = /\bimport\(\s*'([^']+)'\s*\)|^import '([^']+)'/gm

/** Finds the imports of a file, those of types and those at run time too. */
export function importsOf({ code, text }: SourceText): Import[] {
  const isCode = (index: number) => code[index] === text[index]
  const imports: Import[] = []
  for (const { index, 1: clause = '', 2: path = '' } of text.matchAll(IMPORT)) {
    if (!isCode(index)) continue
    const list = /\{([^}]*)\}/.exec(clause)?.[1]
    imports.push({ path, names: list === undefined ? ['*'] : namesIn(list, 'imported') })
  }
  for (const { index, 1: called, 2: plain = '' } of text.matchAll(IMPORT_CALL)) {
    if (isCode(index)) imports.push({ path: called ?? plain, names: ['*'] })
  }
  return imports
}

/** Lists the names between the braces of an import or export. */
function namesIn(list: string, side: 'imported' | 'exported'): string[] {
  return list.split(',').flatMap((item) => {
    const [own, other = own] = item
      .trim()
      .replace(/^type /, '')
      .split(' as ')
    const name = side === 'imported' ? own : other
    return name === undefined || name === '' ? [] : [name]
  })
}

const TEST = /\b(?:describe|it|test)(?:\.\w+)*$/

/** The most characters between the name `describe` or `it` and its title: a table may be there. */
const LONGEST_CALLEE = 4000

const LITERAL = /(['"`])((?:\\.|(?!\1)[^\\])*)\1/y

/** Finds the titles of tests. An expression in a title is `…`. */
export function titlesOf(source: SourceText): Title[] {
  const { code, text } = source
  return source.literals.flatMap(({ start }) => {
    const before = code.slice(Math.max(0, start - LONGEST_CALLEE), start).trimEnd()
    if (!before.endsWith('(')) return []
    const callee = before.slice(0, -1).trimEnd()
    const named = callee.endsWith(')') ? callee.slice(0, openingOf(callee)) : callee
    if (!TEST.test(named)) return []
    LITERAL.lastIndex = start
    const title = LITERAL.exec(text)?.[2] ?? ''
    return [{ line: lineAt(source, start), text: title.replace(/\$\{[^}]*\}/g, '…') }]
  })
}

/** Returns the place of the parenthesis that the last character of `code` closes. */
function openingOf(code: string): number {
  let depth = 0
  for (let at = code.length - 1; at >= 0; at--) {
    if (code[at] === ')') depth++
    if (code[at] === '(' && --depth === 0) return at
  }
  return 0
}
