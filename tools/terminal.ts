/** The streams that the tool reads and writes. */

import type { Readable, Writable } from 'node:stream'

/** A stream that may be a terminal. */
export type Sink = Writable & { readonly isTTY?: boolean; readonly columns?: number }

/** The streams of the tool: those of the process, or others in their place. */
export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean }
  /** Takes the requested data, and nothing else. */
  readonly output: Sink
  /** Takes notes, progress and errors. */
  readonly error: Sink
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Aborts when the user interrupts the tool. */
  readonly interrupt: AbortSignal
}

/** The width assumed for a terminal that does not report it. */
export const USUAL_COLUMNS = 80

/** Returns the most characters of a line; `elsewhere` if the stream is not a terminal. */
export function widthOf({ isTTY, columns }: Sink, elsewhere = Number.POSITIVE_INFINITY): number {
  if (isTTY !== true) return elsewhere
  return columns === undefined || columns === 0 ? USUAL_COLUMNS : columns
}

/** Whether a stream may be coloured: it is a capable terminal, and NO_COLOR is not set. */
export function mayColor(sink: Sink, environment: Terminal['environment']): boolean {
  const { NO_COLOR = '', TERM } = environment
  return sink.isTTY === true && NO_COLOR === '' && TERM !== 'dumb'
}
