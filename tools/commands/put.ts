/** The command `firkin put`: puts a value under a key. */

import { Command } from 'commander'
import { MAX_VALUE_SIZE } from '../../src/format/record.ts'
import { withExamples } from '../examples.ts'
import { UsageError } from '../failure.ts'
import { readInput } from '../input.ts'
import { keyOf } from '../key-range.ts'
import type { Session } from '../session.ts'
import { openToWrite, WAIT_OPTION, type WaitOptions } from '../store.ts'
import type { Terminal } from '../terminal.ts'
import { encodeText, parseDuration, parseHex } from '../text.ts'

interface PutOptions extends WaitOptions {
  readonly hex?: boolean
  readonly ttl?: string
  readonly create?: boolean
}

/** Makes the command `put`. */
export function putCommand(session: Session): Command {
  const command = new Command('put')
    .description('put a value under a key; durable when the command ends')
    .argument('<directory>', 'the directory of the store')
    .argument('<key>', 'the key')
    .argument('[value]', 'the value; standard input where it is missing or `-`')
    .option('--hex', 'key and value as hexadecimal digits; not the value from standard input')
    .option('--ttl <duration>', 'how long it lives: 250ms, 10s, 5m, 2h, 7d')
    .option('--create', 'create the store if there is none')
    .option(...WAIT_OPTION)
    .action(
      session.action<[directory: string, key: string, value: string | undefined], PutOptions>(
        async (call, directory, key, text) => {
          const { options, output, terminal } = call
          const ttlMs = options.ttl === undefined ? undefined : parseDuration(options.ttl)
          const keyBytes = keyOf(key, options)
          const value = await readValue(text, options.hex === true, terminal)
          const create = options.create === true
          await using store = await openToWrite(directory, call, {
            create,
            offersCreate: true,
            durable: true,
          })
          await store.put(keyBytes, value, ttlMs === undefined ? {} : { ttlMs })
          if (output.isJson) await output.json({ put: 1 })
        },
      ),
    )
  return withExamples(
    command,
    'firkin put ./data user:7 Ada',
    'firkin put ./data session:1 open --ttl 30m',
    'firkin put ./data picture < picture.png',
  )
}

async function readValue(
  text: string | undefined,
  hex: boolean,
  terminal: Terminal,
): Promise<Buffer> {
  if (text !== undefined && text !== '-') return hex ? parseHex(text) : encodeText(text, 'value')
  const chunks: Buffer[] = []
  let size = 0
  for await (const bytes of readInput(terminal.input, terminal)) {
    chunks.push(bytes)
    size += bytes.length
    if (size > MAX_VALUE_SIZE) {
      throw new UsageError(`The value has more than ${MAX_VALUE_SIZE} bytes, which is the limit`)
    }
  }
  return Buffer.concat(chunks)
}
