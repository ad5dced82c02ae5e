/**
 * Before each test file: the disk of this machine counts as quick. Where it holds up writes they are left to a thread, and
 * are in the file some turns of the event loop later than tests count on. What is made of a slow disk is tested on files
 * that say so.
 */

import { systemFiles } from '../../src/io/files.ts'

Object.assign(systemFiles, { areWritesSlow: () => false })
