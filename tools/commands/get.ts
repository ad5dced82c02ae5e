/** The command `firkin get`: prints the value of a key. */

import { Command } from 'commander'
import { toJson } from '../entry.ts'
import { withExamples } from '../examples.ts'
import { STATUS } from '../failure.ts'
import { keyOf } from '../key-range.ts'
import type { Session } from '../session.ts'
import { openToRead } from '../store.ts'
import { escapePieces, hexPieces } from '../text.ts'

interface GetOptions {
  readonly hex?: boolean
}

/** Makes the command `get`. */
export function getCommand(session: Session): Command {
  const command = new Command('get')
    .description('print the value of a key, byte for byte; a terminal gets it escaped')
    .argument('<directory>', 'the directory of the store')
    .argument('<key>', 'the key')
    .option('--hex', 'key and value as hexadecimal digits')
    .action(
      session.action<[directory: string, key: string], GetOptions>(
        async (call, directory, text) => {
          const { output, options } = call
          const key = keyOf(text, options)
          await using store = await openToRead(directory, output)
          const value = store.get(key)
          const expiresAt = store.expiresAt(key)
          if (value === undefined || expiresAt === undefined) {
            output.note(`There is no key ${text}`)
            return STATUS.noKey
          }
          if (output.isJson) await output.json(toJson({ key, value, expiresAt }))
          else if (options.hex === true || output.isTerminal) {
            const pieces = options.hex === true ? hexPieces(value) : escapePieces(value)
            for (const piece of pieces) await output.write(piece)
            await output.write('\n')
          } else await output.write(value)
          return STATUS.fine
        },
      ),
    )
  return withExamples(
    command,
    'firkin get ./data user:7',
    'firkin get ./data user:7 --json',
    'firkin get ./data picture > picture.png',
  )
}
