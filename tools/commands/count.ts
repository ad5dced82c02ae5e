/** The command `firkin count`: counts the keys of a range. */

import { Command } from 'commander'
import { withExamples } from '../examples.ts'
import { type KeyRangeOptions, rangeOf, withRange } from '../key-range.ts'
import type { Session } from '../session.ts'
import { openToRead } from '../store.ts'

/** Makes the command `count`. */
export function countCommand(session: Session): Command {
  const command = withRange(
    new Command('count')
      .description('print how many keys there are, in a range or in all')
      .argument('<directory>', 'the directory of the store'),
  )
    .option('--hex', 'bounds as hexadecimal digits')
    .action(
      session.action<[directory: string], KeyRangeOptions>(async (call, directory) => {
        const { output, options } = call
        const range = rangeOf(options)
        await using store = await openToRead(directory, output)
        const count = store.count(range)
        if (output.isJson) await output.json({ count })
        else await output.line(String(count))
      }),
    )
  return withExamples(command, 'firkin count ./data', 'firkin count ./data --prefix user:')
}
