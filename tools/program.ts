/** The program: all commands, and their common options. */

import { createRequire } from 'node:module'
import { Command } from 'commander'
import pc from 'picocolors'
import { backupCommand } from './commands/backup.ts'
import { benchCommand } from './commands/bench.ts'
import { countCommand } from './commands/count.ts'
import { deleteCommand } from './commands/delete.ts'
import { dumpCommand } from './commands/dump.ts'
import { exportCommand } from './commands/export.ts'
import { getCommand } from './commands/get.ts'
import { importCommand } from './commands/import.ts'
import { inspectCommand } from './commands/inspect.ts'
import { mergeCommand } from './commands/merge.ts'
import { putCommand } from './commands/put.ts'
import { repairCommand } from './commands/repair.ts'
import { restoreCommand } from './commands/restore.ts'
import { scanCommand } from './commands/scan.ts'
import { shellCommand } from './commands/shell.ts'
import { tailCommand } from './commands/tail.ts'
import { verifyCommand } from './commands/verify.ts'
import { Session } from './session.ts'
import { mayColor, type Terminal, USUAL_COLUMNS, widthOf } from './terminal.ts'
import { showText } from './text.ts'

/** Makes a command that runs in a session. */
export type MakeCommand = (session: Session) => Command

const GROUPS: readonly (readonly [title: string, commands: readonly MakeCommand[]])[] = [
  ['Look:', [inspectCommand, dumpCommand, tailCommand, verifyCommand]],
  [
    'Read and write:',
    [getCommand, putCommand, deleteCommand, scanCommand, countCommand, shellCommand],
  ],
  ['Move:', [exportCommand, importCommand, backupCommand, restoreCommand]],
  ['Maintain:', [mergeCommand, repairCommand, benchCommand]],
]

/**
 * Runs the tool.
 *
 * @param argv the arguments after the name of the tool
 * @returns the exit status, one of `STATUS`
 */
export async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  const session = new Session(terminal)
  // If nobody reads any more, the next write reports it.
  for (const sink of [terminal.output, terminal.error]) sink.on('error', () => undefined)
  try {
    await makeProgram(session).parseAsync(argv, { from: 'user' })
    return session.status
  } catch (error) {
    return await session.fail(error)
  }
}

function makeProgram(session: Session): Command {
  const { output, error, environment } = session.terminal
  const program = new Command('firkin')
    .description('The offline tool of Firkin, a key-value storage engine.')
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print the help of a command')
    .option('--json', 'print JSON: one object, or for streams one a line')
    .option('-q, --quiet', 'print neither notes nor progress')
    .option('--no-color', 'print without colours, as with NO_COLOR')
    .option('--bytes', 'print sizes as exact numbers of bytes')
    .option('--debug', 'print the stack of an error')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, styleTitle: pc.createColors(true).bold })
    .configureOutput({
      writeOut: (text) => output.write(text),
      writeErr: (text) => error.write(text),
      outputError: (text, write) =>
        write(
          `firkin: ${showText(
            text
              .replace(/^error: /, '')
              .trim()
              .replaceAll('\n', ' '),
          )}\n`,
        ),
      getOutHelpWidth: () => widthOf(output, USUAL_COLUMNS),
      getErrHelpWidth: () => widthOf(error, USUAL_COLUMNS),
      getOutHasColors: () => mayColor(output, environment),
      getErrHasColors: () => mayColor(error, environment),
    })
    .addHelpText(
      'after',
      '\nExit status: 0 fine, 1 damage or failure, 2 usage, 3 no such key, 130 ended by Ctrl-C.\nA key that begins with a dash goes after `--`.',
    )
  for (const [title, commands] of GROUPS) {
    program.commandsGroup(title)
    for (const make of commands) {
      program.addCommand(make(session).copyInheritedSettings(program))
    }
  }
  return program
}

function readVersion(): string {
  const { version } = createRequire(import.meta.url)('firkin/package.json') as { version: string }
  return version
}
