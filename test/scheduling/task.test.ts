import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { either, over, Task, turn, type Wait, type Work } from '../../src/scheduling/task.ts'

/** Work of three steps that records which were done, and how its waits ended. */
function* threeSteps(said: string[], wait: Wait<string>): Work<string> {
  said.push('first')
  said.push(yield* over(wait))
  yield* over(turn)
  said.push('last')
  return 'answer'
}

/** A wait that records where it ended. */
function told(): Wait<string> {
  return either(
    async () => {
      await setImmediate()
      return 'later'
    },
    () => 'now',
  )
}

describe('a task', () => {
  it('continues by itself while the event loop turns', async () => {
    const said: string[] = []

    const task = new Task(threeSteps(said, told())).begin()

    expect(said).toEqual(['first'])
    expect(task.look()).toBe(undefined)
    expect(await task.promise).toBe('answer')
    expect(said).toEqual(['first', 'later', 'last'])
    expect(task.look()).toEqual({ value: 'answer' })
  })

  it('can be done in calls', () => {
    const said: string[] = []
    const task = new Task(threeSteps(said, told()))

    while (task.step());

    expect(said).toEqual(['first', 'now', 'last'])
    expect(task.look()).toEqual({ value: 'answer' })
  })

  it('does each step once if a call takes over a wait, and continues by itself afterwards', async () => {
    const said: string[] = []
    const task = new Task(threeSteps(said, told())).begin()

    expect(task.step()).toBe(true)

    expect(said).toEqual(['first', 'now'])
    expect(await task.promise).toBe('answer')
    expect(said).toEqual(['first', 'now', 'last'])
  })

  it('waits by itself for what did not end in a call', async () => {
    const said: string[] = []
    const elsewhere: Wait<string> = {
      later: async () => 'elsewhere',
      now: () => undefined,
    }
    const task = new Task(threeSteps(said, elsewhere))

    expect([task.step(), task.step()]).toEqual([true, false])
    expect(await task.promise).toBe('answer')

    expect(said).toEqual(['first', 'elsewhere', 'last'])
  })

  it.each(['later', 'now'] as const)('throws into the work what a wait throws %s', async (when) => {
    const failure = new Error('of the wait')
    const failing: Wait<string> = either(
      () => Promise.reject(failure),
      () => {
        throw failure
      },
    )
    const task = new Task(threeSteps([], failing))
    if (when === 'later') task.begin()
    else while (task.step());

    await expect(task.promise).rejects.toBe(failure)
    expect(() => task.look()).toThrow(failure)
    expect(task.isOver).toBe(true)
  })

  it('leaves the failure of a wait that ended in a call unreported', async () => {
    const late: Wait<string> = either(
      () => Promise.reject(new Error('too late')),
      () => 'now',
    )
    const said: string[] = []
    const task = new Task(threeSteps(said, late)).begin()

    while (task.step());

    expect(await task.promise).toBe('answer')
    await setImmediate()
    expect(said).toEqual(['first', 'now', 'last'])
  })

  it('does no step while another one is under way', () => {
    const inside: boolean[] = []
    let task: Task<void> | undefined
    function* work(): Work<void> {
      yield* over(turn)
      inside.push(task?.step() ?? true)
    }
    task = new Task(work())

    while (task.step());

    expect(inside).toEqual([false])
  })
})
