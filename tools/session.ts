/** A run of the tool, and the call of a command in it. */

import type { Command } from 'commander'
import { Interrupted, STATUS, type Status, UsageError } from './failure.ts'
import { Output, type OutputOptions } from './output.ts'
import type { Terminal } from './terminal.ts'

/** One call of a command: its options and its output. */
export class Call<O = unknown> {
  readonly options: O
  readonly output: Output
  readonly terminal: Terminal
  #summary = (): string => ''

  constructor(options: O, output: Output, terminal: Terminal) {
    this.options = options
    this.output = output
    this.terminal = terminal
  }

  /** Aborts when the user interrupts the tool. */
  get interrupt(): AbortSignal {
    return this.terminal.interrupt
  }

  /** Says what has been done so far, for a call that is interrupted. */
  get summary(): string {
    return this.#summary()
  }

  /** Sets the text for {@link summary}. */
  summarise(summary: () => string): void {
    this.#summary = summary
  }
}

/** The work of a command. It returns its status if that is not fine. */
export type Work<A extends readonly unknown[], O> = (
  call: Call<O>,
  ...args: A
  // biome-ignore lint/suspicious/noConfusingVoidType: such work returns nothing.
) => Promise<Status | void>

/** One run of the tool. */
export class Session {
  readonly terminal: Terminal
  /** The exit status. */
  status: Status = STATUS.fine
  #call: Call

  constructor(terminal: Terminal) {
    this.terminal = terminal
    this.#call = new Call({}, new Output(terminal, {}), terminal)
  }

  /**
   * Returns the function that commander calls for the work of a command. `A` are the arguments of
   * the command, `O` its options.
   */
  action<A extends readonly unknown[], O = object>(
    work: Work<A, O>,
  ): (...given: unknown[]) => Promise<void> {
    return async (...given) => {
      // Safety: commander passes the arguments that were declared, then the options, then the
      // command.
      const command = given.at(-1) as Command
      const args = given.slice(0, -2) as unknown as A
      // An unset variable in a script must not stand for the current directory.
      if (args[0] === '') throw new UsageError('The name of the directory is empty')
      const options = command.optsWithGlobals<O & OutputOptions>()
      const call = new Call<O>(options, new Output(this.terminal, options), this.terminal)
      this.#call = call
      this.status = (await work(call, ...args)) ?? STATUS.fine
      await call.output.flush()
    }
  }

  /** Prints why the run ends. Returns the exit status. */
  async fail(error: unknown): Promise<Status> {
    const { output, summary } = this.#call
    // Data printed so far is written, even if nobody may be there to read it.
    await output.flush().catch(() => undefined)
    if (!this.terminal.interrupt.aborted) return output.fail(error)
    return output.fail(new Interrupted(['Interrupted', summary].filter(Boolean).join('. ')))
  }
}
