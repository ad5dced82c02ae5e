/** The command `firkin verify`: reads every byte of every file. */

import { Command } from 'commander'
import type { VerifyReport } from '../../src/inspection/verify.ts'
import { withExamples } from '../examples.ts'
import { STATUS, type Status } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Session } from '../session.ts'
import { countOf, showText } from '../text.ts'
import { verifyStore } from '../verification.ts'

/** Makes the command `verify`. */
export function verifyCommand(session: Session): Command {
  const command = new Command('verify')
    .description('read every byte of every file and print each problem on a line')
    .argument('<directory>', 'the directory of the store')
    .addHelpText(
      'after',
      '\nA finding is damage, where data is lost, or a notice of what the next open mends by itself.',
    )
    .action(
      session.action<[directory: string]>(async (call, directory) => {
        const { output } = call
        let come = { bytesRead: 0, bytesTotal: 0 }
        call.summarise(
          () => `${output.size(come.bytesRead)} of ${output.size(come.bytesTotal)} had been read`,
        )
        const report = await verifyStore(call, directory, (progress) => {
          come = progress
        })
        if (output.isJson) await output.json(report)
        else await printReport(output, report)
        return statusOf(report)
      }),
    )
  return withExamples(command, 'firkin verify ./data', 'firkin verify --json ./data')
}

/** Returns the exit status for a report. */
export function statusOf({ ok }: VerifyReport): Status {
  return ok ? STATUS.fine : STATUS.failed
}

/** Returns the verdict on a store that has lost nothing. */
function verdictOf(noticeCount: number): string {
  return noticeCount === 0 ? 'No damage' : `No data lost, ${countOf(noticeCount, 'notice')}`
}

/** Prints the findings, and how much was read. */
async function printReport(output: Output, report: VerifyReport): Promise<void> {
  const { findings, segments, records, bytes, ok } = report
  for (const { file, offset, severity, message } of findings) {
    await output.line(
      `${showText(file)}:${offset}: ${output.verdict(severity === 'notice', severity)}: ${message}`,
    )
  }
  const damaged = findings.filter(({ severity }) => severity === 'damage').length
  const read = `${countOf(records, 'record')}, ${output.size(bytes)} in ${countOf(segments, 'segment')}`
  output.note(`${ok ? verdictOf(findings.length) : countOf(damaged, 'damaged place')}: ${read}`)
}
