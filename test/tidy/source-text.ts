/**
 * Reads TypeScript as text, as far as the checks of the sources need it.
 *
 * Comments, strings, templates and regular expressions are told from code. In `code` their
 * characters are spaces, so that offsets and lines stay the same. The checks rely on the formatter
 * for everything else.
 */

/** A comment, or a run of line comments that stand below one another. */
export interface Comment extends Span {
  /** Its text without the marks of a comment, in one line. */
  readonly text: string
  /** Whether it is a docstring. */
  readonly isDoc: boolean
}

/** A source file, with its comments and literals told from its code. */
export interface SourceText {
  /** The path, below the project. */
  readonly path: string
  readonly text: string
  /** The text with spaces in place of comments and literals. */
  readonly code: string
  readonly comments: readonly Comment[]
  /** The places of strings, regular expressions, and the text of templates. */
  readonly literals: readonly Span[]
}

/** The offsets of a part of a text. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** A literal or comment, or anything else in between. */
const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|[`{}]|[\w$)\]]+|[^\s\w$)\]]/g
/** A regular expression, from its first slash on. */
const REGULAR_EXPRESSION = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/y
/** The text of a template up to an expression or its end. */
const TEMPLATE_TEXT = /(?:\\[\s\S]|\$(?!\{)|[^`\\$])*(?:`|\$\{)/y
/** The end of code after which a slash divides. */
const OPERAND_END = /(?:[\w$)\]}'"`])$/
const KEYWORD_BEFORE_OPERAND = /\b(?:return|case|typeof|of|in|yield|await|throw)$/

/** Reads a source file. */
export function readSourceText(path: string, text: string): SourceText {
  const literals: Span[] = []
  const comments: Span[] = []
  // The depths of braces at which the expression of a template ends.
  const templates: number[] = []
  let depth = 0
  let before = ''
  let at = 0
  const match = (pattern: RegExp): number | undefined => {
    pattern.lastIndex = at
    return pattern.exec(text)?.[0].length
  }
  const skip = (list: Span[], size: number): void => {
    list.push({ start: at, end: at + size })
    at += size
  }
  const template = (opening: number): void => {
    const start = at
    at += opening
    at += match(TEMPLATE_TEXT) ?? 0
    if (text.endsWith('${', at)) templates.push(depth++)
    literals.push({ start, end: at })
    before = text.slice(at - 1, at)
  }
  while (at < text.length) {
    TOKEN.lastIndex = at
    const found = TOKEN.exec(text)
    if (found === null) break
    const [token] = found
    at = found.index
    if (token.startsWith('//') || token.startsWith('/*')) skip(comments, token.length)
    else if (token[0] === "'" || token[0] === '"') {
      skip(literals, token.length)
      before = token
    } else if (token === '`') template(1)
    else if (token === '}' && templates.at(-1) === depth - 1) {
      templates.pop()
      depth--
      template(1)
    } else if (token === '/' && isOperandNext(before)) {
      skip(literals, match(REGULAR_EXPRESSION) ?? 1)
      before = '/re/g'
    } else {
      if (token === '{') depth++
      if (token === '}') depth--
      before = token
      at += token.length
    }
  }
  return {
    path,
    text,
    code: blank(blank(text, literals), comments),
    comments: joinLineComments(text, comments),
    literals,
  }
}

/** Returns the number of the line that an offset lies in, from 1 on. */
export function lineAt({ text }: SourceText, offset: number): number {
  return text.slice(0, offset).split('\n').length
}

function isOperandNext(before: string): boolean {
  return !OPERAND_END.test(before) || KEYWORD_BEFORE_OPERAND.test(before)
}

/** Puts `by` in the place of every character of some parts of a text, except for line ends. */
export function blank(text: string, spans: readonly Span[], by = ' '): string {
  let result = ''
  let at = 0
  for (const { start, end } of spans) {
    result += text.slice(at, start) + text.slice(start, end).replace(/[^\n]/g, by)
    at = end
  }
  return result + text.slice(at)
}

/** Makes one comment of line comments that stand below one another. */
function joinLineComments(text: string, spans: readonly Span[]): Comment[] {
  const joined: { start: number; end: number }[] = []
  for (const { start, end } of spans) {
    const last = joined.at(-1)
    const isNext =
      last !== undefined &&
      /^[ \t]*\/\/$/m.test(text.slice(text.lastIndexOf('\n', last.start) + 1, last.start + 2)) &&
      text.startsWith('//', start) &&
      /^\n[ \t]*$/.test(text.slice(last.end, start))
    if (isNext) last.end = end
    else joined.push({ start, end })
  }
  return joined.map(({ start, end }) => {
    const comment = text.slice(start, end)
    return {
      start,
      end,
      text: comment
        .replace(/^\/\*+|\*\/$|^[ \t]*\/\//gm, ' ')
        .replace(/^[ \t]*\*/gm, ' ')
        .replace(/\s+/g, ' ')
        .trim(),
      isDoc: comment.startsWith('/**'),
    }
  })
}
