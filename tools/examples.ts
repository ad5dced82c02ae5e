/** Examples in the help of a command. */

import type { Command } from 'commander'

/** Adds examples to the help of a command. */
export function withExamples(command: Command, ...examples: readonly string[]): Command {
  const lines = examples.map((example) => `  $ ${example}`)
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`)
}
