/** The command `firkin backup`: makes a consistent copy of a store. */

import { Command } from 'commander'
import { withExamples } from '../examples.ts'
import type { Session } from '../session.ts'
import { copyStore } from '../store-copy.ts'

/** Makes the command `backup`. */
export function backupCommand(session: Session): Command {
  const command = new Command('backup')
    .description('copy a store, in use or not; verifies both the store and the copy')
    .argument('<directory>', 'the directory of the store')
    .argument('<target>', 'a directory that is empty or does not exist')
    .addHelpText(
      'after',
      '\nSegments that do not change any more are linked where the file system allows it, and copied elsewhere.',
    )
    .action(
      session.action<[directory: string, target: string]>(async (call, directory, target) =>
        copyStore(call, directory, target, 'Backed up'),
      ),
    )
  return withExamples(command, 'firkin backup ./data /backups/2024-01-31')
}
