/**
 * Makes the disk of this machine count as quick, before each test file. On a disk that holds up
 * writes, a thread would write, some turns of the event loop later than tests expect. Tests of slow
 * disks use files that claim to be slow.
 */

import { systemFiles } from '../../src/io/files.ts'

Object.assign(systemFiles, { areWritesSlow: () => false })
