import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '../src/io/files.ts'

/** How far an import has come. */
export interface ImportPosition {
  /** Records of the input that are in the store. */
  readonly records: number
  /** A checksum of those records, so that an import goes on with no other input. */
  readonly digest: number
}

/** The beginning. */
export const IMPORT_START: ImportPosition = { records: 0, digest: 0 }

const FILE_NAME = 'import.json'

/**
 * The file in a store's directory that says how far an import has come, while it has not come to its end. It is
 * written after each batch is durable, so that it may lag behind by a batch, which is then put once more.
 */
export class ImportProgress {
  readonly #path: string

  constructor(directory: string) {
    this.#path = join(directory, FILE_NAME)
  }

  /** Where an import that was not ended goes on; `undefined` where there is none. */
  read(): ImportPosition | undefined {
    try {
      const { records, digest } = JSON.parse(readFileSync(this.#path, 'utf8'))
      return Number.isSafeInteger(records) && Number.isSafeInteger(digest)
        ? { records, digest }
        : undefined
    } catch (error) {
      // A file that a power loss has cut says nothing: then the import begins anew, and puts the same again.
      if (error instanceof SyntaxError || errorCode(error) === 'ENOENT') return undefined
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
