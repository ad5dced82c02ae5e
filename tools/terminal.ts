import type { Readable, Writable } from 'node:stream'

/** A stream that may be a terminal. */
export type Sink = Writable & { readonly isTTY?: boolean; readonly columns?: number }

/** What the tool reads from and writes to: the process's own streams, or others in their place. */
export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean }
  /** Takes what was asked for, and nothing else. */
  readonly output: Sink
  /** Takes notes, progress and errors. */
  readonly error: Sink
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Aborts when the person who sits there wants an end. */
  readonly interrupt: AbortSignal
}

/** How wide a terminal is taken to be that does not tell. */
export const USUAL_COLUMNS = 80

/** How many characters a line may have; `elsewhere` where it is no terminal. */
export function widthOf({ isTTY, columns }: Sink, elsewhere = Number.POSITIVE_INFINITY): number {
  if (isTTY !== true) return elsewhere
  return columns === undefined || columns === 0 ? USUAL_COLUMNS : columns
}

/** Whether a stream may be coloured: a terminal that can, unless NO_COLOR says otherwise. */
export function mayColor(sink: Sink, environment: Terminal['environment']): boolean {
  const { NO_COLOR = '', TERM } = environment
  return sink.isTTY === true && NO_COLOR === '' && TERM !== 'dumb'
}
