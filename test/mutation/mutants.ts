/**
 * Mutants: small faults planted in source text, one at a time, to see whether any test notices.
 *
 * 1. Blank out comments, strings and regular expressions, so that only code is left at its own places.
 * 2. Match each operator's pattern against the code. Every match is one mutant.
 *
 * The patterns rely on the formatter: binary operators stand between spaces, and a statement that fits stands on a
 * line of its own. Imports, types and declarations without a value are left alone.
 */

/** A fault that can be planted. */
export interface Mutant {
  /** Where the changed text begins in the source. */
  readonly start: number
  readonly end: number
  /** What stands there instead. */
  readonly replacement: string
  /** Counted from 1. */
  readonly line: number
  /** What was changed, for people. */
  readonly description: string
}

interface Operator {
  readonly pattern: RegExp
  /** What a match becomes; `undefined` where it is left alone. */
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
  // A number is one too high. Parts of names and of other numbers are none.
  {
    pattern: /(?<![\w.$])\d+(?![\w.])/g,
    replace: ([text]) => String(Number(text) + 1),
  },
  // A condition is not looked at.
  { pattern: /(?<=^\s*(?:\} else )?if \()(?=.*\) )/gm, replace: () => 'false && ' },
  // A negation is lost.
  { pattern: /(?<=[(\s])!(?=[a-z(#])/g, replace: () => '' },
  // A statement is left out: a call or an assignment that is whole on its line.
  {
    pattern: /(?<=^ {4,})(?:await )?[a-z][\w.#?[\]]*(?:\(.*\)| [-+]?= [^{\n]*[^{([,=>\s])$/gm,
    replace: ([statement]) =>
      isBalanced(statement) && !/^(?:await )?super\b/.test(statement) ? '' : undefined,
  },
]

/** The mutants of a source file, in the order of their places. */
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

/** The source with a mutant planted in it. */
export function plant(source: string, { start, end, replacement }: Mutant): string {
  return source.slice(0, start) + replacement + source.slice(end)
}

/** Puts spaces in the place of all that is no code; line ends stay. */
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

/** Whether a line is an import or belongs to a type, where a change has no effect when it runs. */
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
