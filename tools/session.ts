import type { Command } from 'commander'
import { Interrupted, STATUS, type Status, UsageError } from './failure.ts'
import { Output, type OutputOptions } from './output.ts'
import type { Terminal } from './terminal.ts'

/** One call of a command: its options, and what it prints with. */
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

  /** Aborts when the person who called wants an end. */
  get interrupt(): AbortSignal {
    return this.terminal.interrupt
  }

  /** What has been done so far, should the call be ended before it is over. */
  get summary(): string {
    return this.#summary()
  }

  /** Sets what is to be said should the call be ended before it is over. */
  summarise(summary: () => string): void {
    this.#summary = summary
  }
}

/** What a command does; it answers its status where that is not fine. */
export type Work<A extends readonly unknown[], O> = (
  call: Call<O>,
  ...args: A
  // biome-ignore lint/suspicious/noConfusingVoidType: work that cannot fail quietly answers nothing.
) => Promise<Status | void>

/** One run of the tool. */
export class Session {
  readonly terminal: Terminal
  /** What the run ends with. */
  status: Status = STATUS.fine
  #call: Call

  constructor(terminal: Terminal) {
    this.terminal = terminal
    this.#call = new Call({}, new Output(terminal, {}), terminal)
  }

  /** Makes of a command's work what commander calls. `A` are the command's arguments, `O` its options. */
  action<A extends readonly unknown[], O = object>(
    work: Work<A, O>,
  ): (...given: unknown[]) => Promise<void> {
    return async (...given) => {
      // Safety: commander passes the arguments that were declared, then the options, then the command.
      const command = given.at(-1) as Command
      const args = given.slice(0, -2) as unknown as A
      // A variable of a script that is not set must not mean the directory one is in.
      if (args[0] === '') throw new UsageError('The name of the directory is empty')
      const options = command.optsWithGlobals<O & OutputOptions>()
      const call = new Call<O>(options, new Output(this.terminal, options), this.terminal)
      this.#call = call
      this.status = (await work(call, ...args)) ?? STATUS.fine
      await call.output.flush()
    }
  }

  /** Says why the run ends, and answers the status that it ends with. */
  async fail(error: unknown): Promise<Status> {
    const { output, summary } = this.#call
    // What was asked for as far as it came; nobody may be there to read it.
    await output.flush().catch(() => undefined)
    if (!this.terminal.interrupt.aborted) return output.fail(error)
    return output.fail(new Interrupted(['Interrupted', summary].filter(Boolean).join('. ')))
  }
}
