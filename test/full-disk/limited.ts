/**
 * Runs a scenario in a process with a limit on the size of files. Status 0 means that it passed.
 */

import type { Space } from './scenarios.ts'
import * as scenarios from './scenarios.ts'

const [directory = '', name = ''] = process.argv.slice(2)
// The limit is per file, so a merge, which makes new files, needs no extra space.
const space: Space = {
  directory,
  code: 'EFBIG',
  groupSize: 5,
  tooMuch: 13,
  lend() {},
  takeBack() {},
}
switch (name) {
  case 'fillsUp':
    await scenarios.fillsUp(space)
    break
  case 'cannotMerge':
    await scenarios.cannotMerge(space)
    break
  case 'cannotCheckpoint':
    await scenarios.cannotCheckpoint(space)
    break
  default:
    throw new Error(`There is no scenario ${name}`)
}
