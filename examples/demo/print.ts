/** Prints the demo's steps and checks. */

import pc from 'picocolors'

/** Colours for standard output, only if it is a terminal. */
export const colors = pc.createColors(pc.isColorSupported && process.stdout.isTTY === true)

/** The number of failed checks that are printed; all are counted. */
const PRINT_LIMIT = 10

let wrong = 0

/** Counts a check that failed, and prints its claim. */
export function check(isRight: boolean, claim: string): void {
  if (isRight) return
  wrong++
  if (wrong <= PRINT_LIMIT) console.log(`${colors.red('WRONG')} ${claim}`)
}

/** Returns the number of failed checks. */
export function wrongCount(): number {
  return wrong
}

/** Prints a step with its figures in columns. */
export function step(name: string, what: string, figure: string, note = ''): void {
  console.log(
    `${colors.bold(name.padEnd(11))}${what.padEnd(44)}${figure.padStart(14)}   ${note}`.trimEnd(),
  )
}

/** Runs `work`, and returns its result with the milliseconds that it took. */
export async function timed<T>(work: () => T | Promise<T>): Promise<[result: T, ms: number]> {
  const beganAt = performance.now()
  const result = await work()
  return [result, performance.now() - beganAt]
}

/** Formats a whole number. */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en')
}

/** Formats a rate. */
export function perSecond(items: number, ms: number): string {
  return `${count((items / ms) * 1000)}/s`
}

/** Formats a time. */
export function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : count(ms)} ms`
}

/** Formats a size. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
