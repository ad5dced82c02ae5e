/** Remembers the position of an import that has not ended. */

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isErrorOf } from '../src/errors.ts'
import { errorCode } from '../src/io/files.ts'

/** The position of an import. */
export interface ImportPosition {
  /** The number of records of the input that are in the store. */
  readonly records: number
  /** A checksum of those records, so that an import does not go on with another input. */
  readonly digest: number
}

/** The position at which an import begins. */
export const IMPORT_START: ImportPosition = { records: 0, digest: 0 }

const FILE_NAME = 'import.json'

/**
 * The file in a store's directory that holds the position of an import until it has ended. It is
 * written after each batch is durable, so it may lag behind by one batch, which is then put again.
 */
export class ImportProgress {
  readonly #path: string

  constructor(directory: string) {
    this.#path = join(directory, FILE_NAME)
  }

  /** Returns the position of an import that has not ended; `undefined` if there is none. */
  read(): ImportPosition | undefined {
    try {
      const { records, digest } = JSON.parse(readFileSync(this.#path, 'utf8'))
      return Number.isSafeInteger(records) && Number.isSafeInteger(digest)
        ? { records, digest }
        : undefined
    } catch (error) {
      // If a power loss has cut the file, the import begins again and puts the same records.
      if (isErrorOf('SyntaxError', error) || errorCode(error) === 'ENOENT') return undefined
      throw error
    }
  }

  write(position: ImportPosition): void {
    const partial = `${this.#path}.part`
    writeFileSync(partial, `${JSON.stringify(position)}\n`)
    renameSync(partial, this.#path)
  }

  remove(): void {
    rmSync(this.#path, { force: true })
  }
}
