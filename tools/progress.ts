/** A progress bar. */

import { Presets, SingleBar } from 'cli-progress'
import { type Sink, widthOf } from './terminal.ts'
import { formatDuration } from './text.ts'

/** Below this width there is no space for a bar beside the figures. */
const MIN_BAR_COLUMNS = 80
const BAR_SIZE = 24

/**
 * Shows the progress of work: a bar with the rate and the time left, or nothing without a terminal.
 */
export class Progress {
  readonly #sink: Sink | undefined
  readonly #label: string
  readonly #format: (amount: number) => string
  readonly #beganAt = performance.now()
  #bar: SingleBar | undefined

  /** @param sink the terminal; `undefined` for none */
  constructor(sink: Sink | undefined, label: string, format: (amount: number) => string) {
    this.#sink = sink
    this.#label = label
    this.#format = format
  }

  /** Whether it is shown. */
  get isShown(): boolean {
    return this.#sink !== undefined
  }

  /**
   * Updates the progress.
   *
   * @param total 0 if it is not known
   * @param more text after the figures
   */
  update(done: number, total: number, more = ''): void {
    if (this.#sink === undefined) return
    const all = Math.max(total, done, 1)
    const figures = this.#figures(done, all, more)
    if (this.#bar === undefined) {
      this.#bar = this.#makeBar(this.#sink, total > 0)
      this.#bar.start(all, done, figures)
    } else {
      this.#bar.setTotal(all)
      this.#bar.update(done, figures)
    }
  }

  /** Removes the bar; idempotent. */
  end(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }

  [Symbol.dispose](): void {
    this.end()
  }

  #makeBar(sink: Sink, isTotalKnown: boolean): SingleBar {
    const bar = widthOf(sink) >= MIN_BAR_COLUMNS ? '{bar} ' : ''
    const share = isTotalKnown ? `${bar}{percentage}%  {done} of {all}` : '{done}'
    const left = isTotalKnown ? '  {left} left' : ''
    return new SingleBar(
      {
        stream: sink as NodeJS.WritableStream,
        format: `${this.#label} ${share}  {rate}/s${left}{more}`,
        barsize: BAR_SIZE,
        clearOnComplete: true,
        hideCursor: true,
        gracefulExit: false,
      },
      Presets.shades_classic,
    )
  }

  #figures(done: number, all: number, more: string): object {
    const elapsedMs = Math.max(performance.now() - this.#beganAt, 1)
    const perMs = done / elapsedMs
    return {
      done: this.#format(done),
      all: this.#format(all),
      rate: this.#format(Math.round(perMs * 1000)),
      left: perMs === 0 ? '-' : formatDuration((all - done) / perMs),
      more: more === '' ? '' : `  ${more}`,
    }
  }
}
