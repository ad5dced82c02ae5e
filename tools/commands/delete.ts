/** The command `firkin delete`: deletes keys in one batch. */

import { Command } from 'commander'
import { withExamples } from '../examples.ts'
import { keyOf } from '../key-range.ts'
import type { Session } from '../session.ts'
import { openToWrite, WAIT_OPTION, type WaitOptions } from '../store.ts'

interface DeleteOptions extends WaitOptions {
  readonly hex?: boolean
}

/** Makes the command `delete`. */
export function deleteCommand(session: Session): Command {
  const command = new Command('delete')
    .description('delete keys, all or none; prints how many existed')
    .argument('<directory>', 'the directory of the store')
    .argument('<keys...>', 'the keys')
    .option('--hex', 'keys as hexadecimal digits')
    .option(...WAIT_OPTION)
    .action(
      session.action<[directory: string, keys: string[]], DeleteOptions>(
        async (call, directory, texts) => {
          const { options, output } = call
          const keys = texts.map((text) => keyOf(text, options))
          await using store = await openToWrite(directory, call, { create: false, durable: true })
          const there = new Map(
            keys.filter((key) => store.has(key)).map((key) => [key.toString('latin1'), key]),
          )
          const batch = store.batch()
          for (const key of there.values()) batch.delete(key)
          await batch.commit()
          if (output.isJson) await output.json({ deleted: there.size })
          else await output.line(String(there.size))
        },
      ),
    )
  return withExamples(command, 'firkin delete ./data user:7 user:8')
}
