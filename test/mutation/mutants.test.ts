/** The mutants that are found in source text. */

import { describe, expect, it } from 'vitest'
import { findMutants, plant } from './mutants.ts'

function planted(source: string): string[] {
  return findMutants(source).map((mutant) => plant(source, mutant))
}

describe('findMutants', () => {
  it('swaps operators, literals and conditions', () => {
    const source = 'if (a < 10 && !b) c++'

    expect(planted(source)).toEqual([
      'if (false && a < 10 && !b) c++',
      'if (a <= 10 && !b) c++',
      'if (a < 11 && !b) c++',
      'if (a < 10 || !b) c++',
      'if (a < 10 && b) c++',
      'if (a < 10 && !b) c--',
    ])
  })

  it('removes a statement that is whole on its line', () => {
    expect(planted('  {\n    this.close(a)\n  }')).toEqual(['  {\n    \n  }'])
    expect(planted('  {\n    at = size\n  }')).toEqual(['  {\n    \n  }'])
  })

  it('leaves comments, strings, imports and types alone', () => {
    expect(findMutants("// a < 1\nf(/* b && c */ 'x < 2', `y + 3`)")).toEqual([])
    expect(
      findMutants("import { a } from './a1 + 2.ts'\ntype A = 1 | 2\n  readonly a: 0 | 1"),
    ).toEqual([])
  })

  it('names the line', () => {
    expect(findMutants('a\n\nb = true')[0]).toMatchObject({
      line: 3,
      description: 'b = true: true -> false',
    })
  })
})
