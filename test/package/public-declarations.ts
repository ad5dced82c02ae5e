/**
 * Writes the public declarations of an entry point as text, from the build's `.d.ts` files.
 *
 * 1. Follow each exported name to its declaration, through the files that export it again.
 * 2. Leave out comments, members whose docstring has `@internal`, and the constructors of classes
 *    that callers only get as types.
 * 3. Add the types that these declarations mention, if they are declared in the package.
 *
 * The declarations are in the order of their names, so that it does not matter where they are.
 */

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { blank, readSourceText, type SourceText, type Span } from '../tidy/source-text.ts'

/** A declaration. */
interface Target {
  /** The path below the build's directory, without its extension. */
  readonly file: string
  readonly name: string
  /** Whether callers can use it only as a type. */
  readonly isTypeOnly: boolean
}

/** The declarations of a file. */
interface Module {
  /** The text of each declared name; overloads are together. */
  readonly declared: ReadonlyMap<string, string>
  /** Names that the file exports. */
  readonly exported: ReadonlyMap<string, Target>
  /** Names that the file can use of others. */
  readonly imported: ReadonlyMap<string, Target>
}

const WITH_BODY = /^(?:export )?(?:declare )?(?:abstract )?(?:class|interface|namespace)\b/
const DECLARATION =
  /^(?:export )?(?:declare )?(?:abstract )?(?:class|interface|type|function|const|let|enum) (\w+)/
const FROM_OTHER = /^(import|export)\b(.*?)\{([^}]*)\}(?: from '([^']+)')?;$/s

/** Declarations of a build, read once for all entry points. */
export class PublicDeclarations {
  readonly #root: string
  readonly #modules = new Map<string, Module>()

  /** @param root the directory of the build */
  constructor(root: string) {
    this.#root = root
  }

  /**
   * Writes the declarations of an entry point.
   *
   * @param entry its file
   * @param others the names and files of other entry points, whose declarations are only named
   */
  textOf(entry: string, others: ReadonlyMap<string, string>): string {
    const known = new Map(
      [...others].flatMap(([name, file]) =>
        [...this.#exportsOf(file).values()].map((target) => [keyOf(target), name]),
      ),
    )
    const exported = [...this.#exportsOf(entry)].sort(([a], [b]) => (a < b ? -1 : 1))
    const written = new Set(exported.map(([, target]) => keyOf(target)))
    const parts = exported.map(([name, target]) => {
      if (name !== target.name) return `export { ${target.name} as ${name} };`
      const text = this.#textOf(target)
      const note = target.isTypeOnly && isClass(text) ? '// Exported as a type only.\n' : ''
      return note + text
    })
    const mentioned: Target[] = []
    const external = new Set<string>()
    for (const queue: Target[] = exported.map(([, target]) => target); queue.length > 0; ) {
      for (const target of this.#mentionedBy(queue.shift() as Target)) {
        if (written.has(keyOf(target))) continue
        written.add(keyOf(target))
        const origin = known.get(keyOf(target))
        if (origin !== undefined) external.add(`${target.name} of ${origin}`)
        else {
          mentioned.push(target)
          queue.push(target)
        }
      }
    }
    if (external.size > 0) parts.unshift(`// Mentions ${[...external].sort().join(', ')}.`)
    if (mentioned.length > 0) parts.push('// Not exported, but mentioned above.')
    for (const target of mentioned.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      parts.push(this.#textOf(target))
    }
    return `${parts.join('\n\n')}\n`
  }

  /** Lists the files that a compiler reads for an entry point, the entry point included. */
  filesOf(entry: string): string[] {
    const files = new Set([entry])
    // A set is iterated with what is added meanwhile.
    for (const file of files) {
      for (const [, path = ''] of this.#readFile(file).matchAll(
        /(?:from|import\() ?'(\.[^']+)'/g,
      )) {
        files.add(withoutExtension(join(dirname(file), path)))
      }
    }
    return [...files]
  }

  /** Lists the functions, with each of their overloads, and the members of classes without docs. */
  undocumentedOf(entry: string): string[] {
    return [...this.#exportsOf(entry).values()].flatMap(({ file, name }) => {
      const lines = this.#readFile(file).split('\n')
      const isHead = new RegExp(`^export declare class ${name}\\b`)
      const start = lines.findIndex((line) => isHead.test(line))
      const end = start === -1 ? -1 : lines.indexOf('}', start)
      return lines.filter((line, at) => {
        const isMember = at > start && at < end && /^ {4}(?!private )[\w[]/.test(line)
        const isFunction = new RegExp(`^export declare function ${name}\\b`).test(line)
        return (isMember || isFunction) && lines[at - 1]?.endsWith('*/') !== true
      })
    })
  }

  #readFile(file: string): string {
    return readFileSync(join(this.#root, `${file}.d.ts`), 'utf8')
  }

  #exportsOf(file: string): Map<string, Target> {
    return new Map(
      [...this.#moduleAt(file).exported].map(([name, target]) => {
        if (target.file === file) return [name, target]
        const origin = this.#exportsOf(target.file).get(target.name)
        if (origin === undefined) throw new Error(`${target.file} does not export ${target.name}`)
        return [name, { ...origin, isTypeOnly: origin.isTypeOnly || target.isTypeOnly }]
      }),
    )
  }

  #textOf({ file, name, isTypeOnly }: Target): string {
    const text = this.#moduleAt(file).declared.get(name)
    if (text === undefined) throw new Error(`${file} does not declare ${name}`)
    return isTypeOnly && isClass(text) ? withoutConstructor(file, text) : text
  }

  /** Finds the declarations of the package whose names are in the text of another. */
  #mentionedBy(target: Target): Target[] {
    const { declared, imported } = this.#moduleAt(target.file)
    const { code } = readSourceText(target.file, this.#textOf(target))
    return [...new Set(code.match(/\b[A-Z]\w*/g))].flatMap((name) => {
      if (name === target.name) return []
      if (declared.has(name)) return [{ file: target.file, name, isTypeOnly: true }]
      const other = imported.get(name)
      const found = other && this.#exportsOf(other.file).get(other.name)
      return found === undefined ? [] : [{ ...found, isTypeOnly: true }]
    })
  }

  #moduleAt(file: string): Module {
    let module = this.#modules.get(file)
    if (module === undefined) {
      module = readModule(file, this.#readFile(file))
      this.#modules.set(file, module)
    }
    return module
  }
}

/** Returns a path of the build or of the sources without its extension. */
export function withoutExtension(path: string): string {
  return path.replace(/\.[jt]s$/, '')
}

function isClass(text: string): boolean {
  return /\bclass\b/.test(text)
}

function keyOf({ file, name }: Target): string {
  return `${file} ${name}`
}

function readModule(file: string, text: string): Module {
  const declared = new Map<string, string>()
  const exported = new Map<string, Target>()
  const imported = new Map<string, Target>()
  for (const statement of statementsOf(readSourceText(file, text))) {
    const name = DECLARATION.exec(statement)?.[1]
    if (name !== undefined) {
      const before = declared.get(name)
      declared.set(name, before === undefined ? statement : `${before}\n${statement}`)
      if (statement.startsWith('export')) exported.set(name, { file, name, isTypeOnly: false })
      continue
    }
    const [, verb, kind = '', list = '', path] = FROM_OTHER.exec(statement) ?? []
    if (path?.startsWith('.') === false) continue
    const other = path === undefined ? file : withoutExtension(join(dirname(file), path))
    for (const item of list.split(',').map((part) => part.trim())) {
      const [own = '', alias = own] = item.replace(/^type /, '').split(' as ')
      if (own === '') continue
      const isTypeOnly = /\btype\b/.test(kind) || item.startsWith('type ')
      if (verb === 'export') exported.set(alias, { file: other, name: own, isTypeOnly })
      else imported.set(alias, { file: other, name: own, isTypeOnly })
    }
  }
  return { declared, exported, imported }
}

/** Lists the statements of a file without comments and internal members. */
function statementsOf(source: SourceText): string[] {
  const { text, code, comments } = source
  const plain = blank(text, [...comments, ...internalMembers(source)].sort(byStart))
  const statements: string[] = []
  let start = 0
  let depth = 0
  for (let at = 0; at < code.length; at++) {
    const character = code[at] ?? ''
    if ('{(['.includes(character)) depth++
    if ('})]'.includes(character)) depth--
    if (depth > 0) continue
    const head = code.slice(start, at + 1).trimStart()
    if (character === (WITH_BODY.test(head) ? '}' : ';')) {
      statements.push(tidy(plain.slice(start, at + 1)))
      start = at + 1
    }
  }
  return statements
}

/** Finds the members that follow a docstring with `@internal`. */
function internalMembers({ text, code, comments }: SourceText): Span[] {
  return comments
    .filter((comment) => /@internal\b/.test(text.slice(comment.start, comment.end)))
    .map(({ end }) => ({ start: end, end: endOfMember(code, end) }))
}

function withoutConstructor(file: string, text: string): string {
  const { code } = readSourceText(file, text)
  const start = code.search(/^ +(?:private |protected )?constructor\(/m)
  if (start === -1) return text
  return tidy(blank(text, [{ start, end: endOfMember(code, start) }]))
}

/** Returns the end of the member of a class or interface that begins at `start`. */
function endOfMember(code: string, start: number): number {
  let depth = 0
  for (let at = start; at < code.length; at++) {
    if ('{(['.includes(code[at] ?? '')) depth++
    if ('})]'.includes(code[at] ?? '')) depth--
    if (code[at] === ';' && depth === 0) return at + 1
  }
  return start
}

function byStart(a: Span, b: Span): number {
  return a.start - b.start
}

/** Removes the lines and spaces that comments have left, and puts a union on one line. */
function tidy(statement: string): string {
  const lines = statement.split('\n').map((line) => line.trimEnd())
  return lines
    .filter((line) => line !== '')
    .join('\n')
    .replace(/\s+\| /g, ' | ')
    .replace(/=\s+(?:\| )?/g, '= ')
    .trim()
}
