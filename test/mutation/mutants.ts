/**
 * Finds mutants: small faults planted in source text, one at a time, to see whether a test notices.
 *
 * 1. Blank out comments, strings and regular expressions, so that only code is left, at its places.
 * 2. Match each operator's pattern against the code. Every match is one mutant.
 *
 * The patterns rely on the formatter: binary operators are between spaces, and a statement that
 * fits has its own line. Imports, types and declarations without a value are left alone.
 */

/** A fault that can be planted. */
export interface Mutant {
  /** The offset of the changed text in the source. */
  readonly start: number
  readonly end: number
  /** The new text. */
  readonly replacement: string
  /** The number of the line, from 1 on. */
  readonly line: number
  /** A description of the change, for people. */
  readonly description: string
}

interface Operator {
  readonly pattern: RegExp
  /** Returns the replacement of a match; `undefined` leaves the match alone. */
  replace(match: RegExpExecArray): string | undefined
}

const SWAPPED: Readonly<Record<string, string>> = {
  ' < ': ' <= ',
  ' <= ': ' < ',
  ' > ': ' >= ',
  ' >= ': ' > ',
  ' === ': ' !== ',
  ' !== ': ' === ',
  ' && ': ' || ',
  ' || ': ' && ',
  ' ?? ': ' && ',
  ' + ': ' - ',
  ' - ': ' + ',
  ' * ': ' + ',
  ' += ': ' -= ',
  ' -= ': ' += ',
  '++': '--',
  '--': '++',
  true: 'false',
  false: 'true',
}

const OPERATORS: readonly Operator[] = [
  // An operator or a literal becomes another.
  {
    pattern: / (?:<=?|>=?|===|!==|&&|\|\||\?\?|[+\-*]|\+=|-=) |\+\+|--|\b(?:true|false)\b/g,
    replace: ([text]) => SWAPPED[text],
  },
  // A number is one too high. Parts of names and of other numbers do not count.
  {
    pattern: /(?<![\w.$])\d+(?![\w.])/g,
    replace: ([text]) => String(Number(text) + 1),
  },
  // A condition is ignored.
  { pattern: /(?<=^\s*(?:\} else )?if \()(?=.*\) )/gm, replace: () => 'false && ' },
  // A negation is left out.
  { pattern: /(?<=[(\s])!(?=[a-z(#])/g, replace: () => '' },
  // A statement is left out: a call or an assignment that is whole on its line.
  {
    pattern: /(?<=^ {4,})(?:await )?[a-z][\w.#?[\]]*(?:\(.*\)| [-+]?= [^{\n]*[^{([,=>\s])$/gm,
    replace: ([statement]) =>
      isBalanced(statement) && !/^(?:await )?super\b/.test(statement) ? '' : undefined,
  },
]

/** Finds the mutants of a source file, in the order of their places. */
export function findMutants(source: string): Mutant[] {
  const code = blankOut(source)
  const mutants: Mutant[] = []
  for (const { pattern, replace } of OPERATORS) {
    for (const match of code.matchAll(pattern)) {
      const line = lineAt(source, match.index)
      if (isDeclaration(line.text)) continue
      const replacement = replace(match)
      if (replacement === undefined) continue
      const [text] = match
      mutants.push({
        start: match.index,
        end: match.index + text.length,
        replacement,
        line: line.number,
        description: `${line.text.trim()}: ${text.trim() || 'if'} -> ${replacement.trim() || 'nothing'}`,
      })
    }
  }
  return mutants.sort((a, b) => a.start - b.start)
}

/** Returns the source with a mutant planted in it. */
export function plant(source: string, { start, end, replacement }: Mutant): string {
  return source.slice(0, start) + replacement + source.slice(end)
}

/** Puts spaces in the place of everything except code and line ends. */
function blankOut(source: string): string {
  const noCode =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|(?<=[(=,:] ?)\/(?![/*])(?:\\.|[^/\\\n])+\/[a-z]*/g
  return source.replace(noCode, (text) => text.replace(/[^\n]/g, ' '))
}

function lineAt(source: string, index: number): { text: string; number: number } {
  const start = source.lastIndexOf('\n', index - 1) + 1
  const end = source.indexOf('\n', index)
  return {
    text: source.slice(start, end === -1 ? source.length : end),
    number: source.slice(0, start).split('\n').length,
  }
}

/** Whether a line is an import or belongs to a type, so that a change has no effect at run time. */
function isDeclaration(line: string): boolean {
  return /^\s*(?:import|export type|type|interface|\| |readonly [\w#]+\??:[^=]*$)/.test(line)
}

function isBalanced(text: string): boolean {
  let depth = 0
  for (const character of text) {
    if ('([{'.includes(character)) depth++
    else if (')]}'.includes(character) && --depth < 0) return false
  }
  return depth === 0
}
