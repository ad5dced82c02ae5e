import pc from 'picocolors'

/** Colours for standard output; none where it is no terminal, whatever the environment makes of that. */
export const colors = pc.createColors(pc.isColorSupported && process.stdout.isTTY === true)

/** So many wrong claims are printed; all are counted. */
const PRINT_LIMIT = 10

let wrong = 0

/** Counts and prints what is not as it should be. */
export function check(isRight: boolean, claim: string): void {
  if (isRight) return
  wrong++
  if (wrong <= PRINT_LIMIT) console.log(`${colors.red('WRONG')} ${claim}`)
}

/** How many checks have failed. */
export function wrongCount(): number {
  return wrong
}

/** Prints a step, with its figures in columns. */
export function step(name: string, what: string, figure: string, note = ''): void {
  console.log(
    `${colors.bold(name.padEnd(11))}${what.padEnd(44)}${figure.padStart(14)}   ${note}`.trimEnd(),
  )
}

/** Runs `work` and tells how long it took, in milliseconds. */
export async function timed<T>(work: () => T | Promise<T>): Promise<[result: T, ms: number]> {
  const beganAt = performance.now()
  const result = await work()
  return [result, performance.now() - beganAt]
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en')
}

export function perSecond(items: number, ms: number): string {
  return `${count((items / ms) * 1000)}/s`
}

export function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : count(ms)} ms`
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
