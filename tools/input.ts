import type { Readable } from 'node:stream'
import type { Terminal } from './terminal.ts'

/**
 * What comes from a stream, until it ends or the person who called wants an end: then it throws the reason.
 *
 * @throws Interrupted
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
