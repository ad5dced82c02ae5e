/** The command `firkin restore`: makes a store from a backup. */

import { Command } from 'commander'
import { withExamples } from '../examples.ts'
import type { Session } from '../session.ts'
import { copyStore } from '../store-copy.ts'

/** Makes the command `restore`. */
export function restoreCommand(session: Session): Command {
  const command = new Command('restore')
    .description('make a store from a backup; verifies both, and never overwrites a store')
    .argument('<backup>', 'the directory of the backup')
    .argument('<directory>', 'a directory that is empty or does not exist')
    .action(
      session.action<[backup: string, directory: string]>(async (call, backup, directory) =>
        copyStore(call, backup, directory, 'Restored'),
      ),
    )
  return withExamples(command, 'firkin restore /backups/2024-01-31 ./data')
}
