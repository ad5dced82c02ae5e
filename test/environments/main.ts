/**
 * The command `npm run environments`: packs the package, and runs a store's whole life in each
 * place where people use it. It installs what it needs from npm. The exit status is 1 if something
 * does not work.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { packInto } from '../package/pack.ts'
import { ENVIRONMENTS, type Environment } from './environments.ts'
import { Project } from './project.ts'

const PROJECT = join(import.meta.dirname, '../../..')

interface Flags {
  readonly gate?: boolean
  readonly only?: readonly Environment[]
}

await new Command('environments')
  .description("Runs a store's whole life in each place where people use the package.")
  .option('--gate', 'those that the gate tries')
  .option('--only <names>', 'these only, with commas between', environments)
  .addHelpText(
    'after',
    `\nEnvironments:\n${ENVIRONMENTS.map(({ name, about }) => `  ${name.padEnd(20)} ${about}`).join('\n')}`,
  )
  .action(run)
  .parseAsync()

async function run({ gate, only }: Flags): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'firkin-environments-'))
  try {
    const { filename } = await packInto(directory, PROJECT)
    const chosen = only ?? ENVIRONMENTS.filter(({ inGate }) => inGate || gate !== true)
    for (const environment of chosen) {
      const { name } = environment
      const project = new Project(join(directory, name), join(directory, filename))
      const outcome = await environment.run(project).then(
        (told) => `ok    ${name}: ${told}`,
        (error) => `FAIL  ${name}: ${error instanceof Error ? error.message : error}`,
      )
      console.log(outcome)
      if (!outcome.startsWith('ok')) process.exitCode = 1
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function environments(list: string): readonly Environment[] {
  return list.split(',').map((name) => {
    const found = ENVIRONMENTS.find((each) => each.name === name)
    if (found === undefined) throw new InvalidArgumentError(`There is no environment ${name}.`)
    return found
  })
}
