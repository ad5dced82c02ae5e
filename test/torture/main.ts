/**
 * The command `npm run torture`: kills writers of one store until its time is over, or until the
 * store breaks a promise. The exit status is 1 then.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { canMap } from '../../src/io/mapping.ts'
import { checkAgain, type Tally, Torture, TortureError } from './torture.ts'

interface Flags {
  readonly minutes: number
  readonly seed: number
  readonly directory?: string
  readonly replay?: string
}

const SUMMARY_MS = 30_000

await new Command('torture')
  .description(
    'Kills processes that write to a store at random moments, and checks what they leave.',
  )
  .option('--minutes <count>', 'for how long', numeral, 1)
  .option('--seed <number>', 'what is drawn follows from it', numeral, Date.now() % 2 ** 31)
  .option(
    '--directory <path>',
    'where the store lies; by default in the directory for temporary files',
  )
  .option('--replay <path>', 'checks once more what a torture before has kept there')
  .action(run)
  .parseAsync()

async function run({ minutes, seed, directory, replay }: Flags): Promise<void> {
  if (replay !== undefined) {
    await checkAgain(replay)
    console.log(`All holds in ${replay}`)
    return
  }
  const root = directory ?? mkdtempSync(join(tmpdir(), 'firkin-torture-'))
  console.log(`Seed ${seed}, ${minutes} minutes, in ${root}`)
  const torture = new Torture({
    directory: root,
    seed,
    writer: join(import.meta.dirname, 'writer.js'),
    mappings: canMap() ? [true, false] : [false],
  })
  const beganAt = performance.now()
  let summaryAt = beganAt + SUMMARY_MS
  try {
    while (performance.now() < beganAt + minutes * 60_000) {
      await torture.round()
      if (performance.now() < summaryAt) continue
      summaryAt += SUMMARY_MS
      console.log(summaryOf(torture.tally, performance.now() - beganAt))
    }
    if (directory === undefined) rmSync(root, { recursive: true })
    console.log(`${summaryOf(torture.tally, performance.now() - beganAt)}\nAll holds`)
  } catch (error) {
    if (!(error instanceof TortureError)) throw error
    console.error(error)
    console.error(`Seed ${seed}. To check what was kept: npm run torture -- --replay ${error.kept}`)
    process.exitCode = 1
  } finally {
    await torture.end()
  }
}

function summaryOf(tally: Tally, elapsedMs: number): string {
  const { rounds, commits, settled, merges, looks, torn, survived } = tally
  const kills = Object.values(tally.kills).reduce((sum, count) => sum + count, 0)
  return [
    `${(elapsedMs / 1000).toFixed(0)} s: ${rounds} rounds, ${kills} kills (${counts(tally.kills)}), ${survived} survived;`,
    `  ${commits} commits, ${settled} of them settled; ${merges} merges; ${looks} looks beside; ${torn} torn tails;`,
    `  keydirs: ${counts(tally.keydirs)}; opened from: ${counts(tally.openedFrom)}`,
  ].join('\n')
}

function counts(counts: Partial<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')
}

function numeral(text: string): number {
  const number = Number(text)
  if (text.trim() === '' || !(number >= 0)) throw new InvalidArgumentError('It is not a number.')
  return number
}
