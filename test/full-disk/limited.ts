/** Runs a scenario in a process of its own, whose files may only grow so large; ends with status 0 where all holds. */

import type { Room } from './scenarios.ts'
import * as scenarios from './scenarios.ts'

const [directory = '', name = ''] = process.argv.slice(2)
// Other files may grow: a merge needs no more.
const room: Room = {
  directory,
  code: 'EFBIG',
  groupSize: 5,
  tooMuch: 13,
  lend() {},
  takeBack() {},
}
switch (name) {
  case 'fillsUp':
    await scenarios.fillsUp(room)
    break
  case 'cannotMerge':
    await scenarios.cannotMerge(room)
    break
  case 'cannotCheckpoint':
    await scenarios.cannotCheckpoint(room)
    break
  default:
    throw new Error(`There is no scenario ${name}`)
}
