/** Reads the input of the tool. */

import type { Readable } from 'node:stream'
import type { Terminal } from './terminal.ts'

/**
 * Yields the chunks of a stream.
 *
 * @throws Interrupted if the user interrupts the tool
 */
export async function* readInput(
  stream: Readable,
  { interrupt }: Pick<Terminal, 'interrupt'>,
): AsyncGenerator<Buffer> {
  const stop = (): unknown => stream.destroy(interrupt.reason)
  if (interrupt.aborted) stop()
  interrupt.addEventListener('abort', stop, { once: true })
  try {
    for await (const chunk of stream) yield Buffer.from(chunk)
  } finally {
    interrupt.removeEventListener('abort', stop)
  }
}
