import { createInterface, type Interface } from 'node:readline/promises'
import { Command } from 'commander'
import { withExamples } from '../examples.ts'
import { describeFailure, OutputClosed } from '../failure.ts'
import type { Call, Session } from '../session.ts'
import { ShellLanguage } from '../shell-language.ts'
import { openToRead, openToWrite } from '../store.ts'

interface ShellOptions {
  readonly readOnly?: boolean
  readonly create?: boolean
}

/** `firkin shell`: a store by hand. */
export function shellCommand(session: Session): Command {
  const command = new Command('shell')
    .description('set, get, delete and scan at a prompt, or from standard input')
    .argument('<directory>', 'the directory of the store')
    .option('--read-only', 'beside a writer; nothing can be changed')
    .option('--create', 'create the store where there is none')
    .action(session.action<[directory: string], ShellOptions>(shell))
  return withExamples(
    command,
    'firkin shell ./data',
    "echo 'scan user: 5' | firkin shell ./data --read-only",
  )
}

async function shell(call: Call<ShellOptions>, directory: string): Promise<void> {
  const { options, output, terminal } = call
  await using store = await (options.readOnly === true
    ? openToRead(directory, output)
    : openToWrite(directory, output, { create: options.create === true }))
  const language = new ShellLanguage(store, output)
  const { input } = terminal
  const isPerson = input.isTTY === true && output.isTerminal
  const lines = createInterface({
    input,
    ...(isPerson ? { output: terminal.output, prompt: '> ' } : {}),
    terminal: isPerson,
    completer: (line: string) => language.complete(line),
  })
  const end = (): void => {
    language.ended = true
    lines.close()
  }
  // At a prompt the terminal does not send the signal; this is it.
  lines.on('SIGINT', end)
  call.interrupt.addEventListener('abort', end, { once: true })
  if (isPerson) output.note('`help` tells what can be said here, `quit` ends.')
  await converse(lines, language, call, isPerson)
}

async function converse(
  lines: Interface,
  language: ShellLanguage,
  { output }: Call,
  isPerson: boolean,
): Promise<void> {
  if (isPerson) lines.prompt()
  for await (const line of lines) {
    try {
      await language.run(line)
    } catch (error) {
      // Nobody reads any more; any other failure is one command's alone.
      if (error instanceof OutputClosed) throw error
      output.warn(describeFailure(error).message)
    }
    await output.flush()
    if (language.ended) break
    if (isPerson) lines.prompt()
  }
  lines.close()
}
