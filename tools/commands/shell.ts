/** The command `firkin shell`: runs lines from a prompt or a pipe. */

import { createInterface } from 'node:readline/promises'
import { Command } from 'commander'
import { withoutByteOrderMark } from '../byte-order-mark.ts'
import { withExamples } from '../examples.ts'
import { describeFailure, OutputClosed, STATUS, type Status, UsageError } from '../failure.ts'
import { readInput } from '../input.ts'
import { linesOf } from '../lines.ts'
import type { Output } from '../output.ts'
import type { Call, Session } from '../session.ts'
import { ShellLanguage } from '../shell-language.ts'
import { openToRead, openToWrite, WAIT_OPTION, type WaitOptions } from '../store.ts'

interface ShellOptions extends WaitOptions {
  readonly readOnly?: boolean
  readonly create?: boolean
}

/** Makes the command `shell`. */
export function shellCommand(session: Session): Command {
  const command = new Command('shell')
    .description('set, get, delete and scan at a prompt, or from standard input')
    .argument('<directory>', 'the directory of the store')
    .option('--read-only', 'beside a writer; nothing can be changed')
    .option('--create', 'create the store if there is none')
    .option(...WAIT_OPTION)
    .action(session.action<[directory: string], ShellOptions>(shell))
  return withExamples(
    command,
    'firkin shell ./data',
    "echo 'scan user: 5' | firkin shell ./data --read-only",
  )
}

async function shell(call: Call<ShellOptions>, directory: string): Promise<Status> {
  const { options, output, terminal } = call
  if (options.readOnly === true && options.wait !== undefined) {
    throw new UsageError('--read-only takes no lock: there is nothing to --wait for')
  }
  await using store = await (options.readOnly === true
    ? openToRead(directory, output)
    : openToWrite(directory, call, {
        create: options.create === true,
        offersCreate: true,
      }))
  const language = new ShellLanguage(store, output)
  const isPerson = terminal.input.isTTY === true && output.isTerminal
  if (isPerson) {
    await converse(language, call)
    return STATUS.fine
  }
  let status: Status = STATUS.fine
  for await (const line of linesOf(withoutByteOrderMark(readInput(terminal.input, terminal)))) {
    if (!(await obey(language, line.toString('utf8'), output))) status = STATUS.failed
    if (language.ended) break
  }
  return status
}

/** Runs lines from a prompt. */
async function converse(
  language: ShellLanguage,
  { output, terminal, interrupt }: Call,
): Promise<void> {
  const lines = createInterface({
    input: terminal.input,
    output: terminal.output,
    prompt: '> ',
    terminal: true,
    completer: (line: string) => language.complete(line),
  })
  const end = (): void => {
    language.ended = true
    lines.close()
  }
  // At a prompt Ctrl-C raises this event instead of the signal.
  lines.on('SIGINT', end)
  interrupt.addEventListener('abort', end, { once: true })
  output.note('`help` lists the commands, `quit` ends.')
  lines.prompt()
  for await (const line of lines) {
    await obey(language, line, output)
    if (language.ended) break
    lines.prompt()
  }
  lines.close()
}

/** Runs a line. Returns whether that succeeded. */
async function obey(language: ShellLanguage, line: string, output: Output): Promise<boolean> {
  try {
    await language.run(line)
    await output.flush()
    return true
  } catch (error) {
    // If nobody reads any more the shell ends; any other failure ends only the line.
    if (error instanceof OutputClosed) throw error
    output.warn(describeFailure(error).message)
    await output.flush()
    return false
  }
}
