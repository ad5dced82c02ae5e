/**
 * Replaces the manifest of an open store, one commit after the other.
 *
 * 1. Edit. A commit starts from the manifest that is installed when its turn comes.
 * 2. Write the new manifest under a temporary name, and sync it.
 * 3. Rename it to its name. If the commit fails before this, nothing has changed.
 * 4. Sync the directory, so that the change survives a power loss.
 *
 * Invariants
 * - Commits run one at a time, in the order in which they were asked for.
 * - A commit that must be over on return first finishes those before it; see task.ts.
 */

import { join } from 'node:path'
import { encodeManifest, type Manifest } from '../format/manifest.ts'
import { MANIFEST_NAME, temporaryName } from '../format/names.ts'
import { discard } from '../io/files.ts'
import { installNewFile, writeNewFile, writeNewFileLater } from '../io/new-file.ts'
import { either, over, Task, type Wait, type Work } from '../scheduling/task.ts'
import type { HeldSegmentContext } from './segment.ts'

/** Returns what a commit changes of the installed manifest. */
export type ManifestEdit = (installed: Manifest) => Partial<Manifest>

/** The part that the set of segments plays in a commit. */
interface ManifestOwner {
  /** Returns what a new manifest says of the store as it is now, before it is edited. */
  describe(): Partial<Manifest>
  /**
   * Returns whether space was freed for a write that failed with `error`, so that it is worth
   * trying again.
   */
  freeSpaceFor(error: unknown): boolean
}

/** The commits of one store. */
export class ManifestCommits {
  readonly #context: HeldSegmentContext
  readonly #owner: ManifestOwner
  #installed: Manifest
  /** The commits that are not over; the first one is under way. */
  readonly #commits: Task<void>[] = []
  /** Writes in the background whose commits were finished on return meanwhile. */
  #leftovers: Promise<unknown> = Promise.resolve()
  /** The number of manifests whose writing was begun, for their temporary names. */
  #writtenCount = 0

  constructor(context: HeldSegmentContext, installed: Manifest, owner: ManifestOwner) {
    this.#context = context
    this.#installed = installed
    this.#owner = owner
  }

  /** The manifest that is installed. */
  get installed(): Manifest {
    return this.#installed
  }

  /** Takes over a manifest that another process has installed. */
  adopt(manifest: Manifest): void {
    this.#installed = manifest
  }

  /** Replaces the manifest by the edited one, after the commits that are under way. */
  commit(edit: ManifestEdit): Promise<void> {
    return this.#enqueue(edit).promise
  }

  /** Returns a wait for {@link commit}. */
  committing(edit: ManifestEdit): Wait<void> {
    let task: Task<void> | undefined
    return {
      later: () => {
        task = this.#enqueue(edit)
        return task.promise
      },
      now: () => {
        if (task === undefined) this.commitNow(edit)
        else this.#finish(task)
        return { value: undefined }
      },
    }
  }

  /** Makes a commit on return, and those before it. */
  commitNow(edit: ManifestEdit): void {
    const task = new Task(this.#commit(edit))
    this.#commits.push(task)
    this.#finish(task)
  }

  /**
   * A wait for the directory to be synced, after which the names of its files survive a power loss.
   */
  get syncingNames(): Wait<void> {
    const { files, directory } = this.#context
    return either(
      () => files.syncDirectoryLater(directory),
      () => files.syncDirectory(directory),
    )
  }

  /** Resolves when no thread writes a manifest any more. */
  async settle(): Promise<void> {
    await this.#leftovers
  }

  #enqueue(edit: ManifestEdit): Task<void> {
    const task = new Task(this.#commit(edit))
    this.#commits.push(task)
    // A commit that fails reports it to its own caller; the next one starts from what is installed.
    const next = (): void => void this.#firstCommit()?.begin()
    next()
    task.promise.then(next, next)
    return task
  }

  /** Returns the commit whose turn it is; `undefined` if all are over. */
  #firstCommit(): Task<void> | undefined {
    while (this.#commits[0]?.isOver === true) this.#commits.shift()
    return this.#commits[0]
  }

  #finish(task: Task<void>): void {
    while (!task.isOver) this.#firstCommit()?.step()
    task.look()
  }

  *#commit(edit: ManifestEdit): Work<void> {
    const { files, directory } = this.#context
    const manifest = this.#edited(edit)
    for (let isInstalled = false; !isInstalled; ) {
      try {
        const path = yield* over(this.#writing(manifest))
        installNewFile(files, path, join(directory, MANIFEST_NAME))
        isInstalled = true
      } catch (error) {
        if (!this.#owner.freeSpaceFor(error)) throw error
      }
    }
    this.#installed = manifest
    yield* over(this.syncingNames)
  }

  #edited(edit: ManifestEdit): Manifest {
    const installed = this.#installed
    return {
      ...installed,
      closed: false,
      ...this.#owner.describe(),
      ...edit(installed),
      generation: installed.generation + 1,
    }
  }

  /** Returns a wait for a manifest to be durable under a temporary path, which it brings. */
  #writing(manifest: Manifest): Wait<string> {
    const { files } = this.#context
    let isLeft = false
    return {
      later: () => {
        const written = this.#write(manifest)
        this.#leftovers = Promise.allSettled([
          this.#leftovers,
          written.then((path) => isLeft && discard(files, path)),
        ])
        return written
      },
      // A file that a thread is syncing is left to it, and the manifest written again: a sync by
      // the same descriptor would not report a failure that the thread's sync has reported.
      now: () => {
        isLeft = true
        return { value: this.#writeNow(manifest) }
      },
    }
  }

  async #write(manifest: Manifest): Promise<string> {
    const path = this.#temporaryPath()
    await writeNewFileLater(this.#context.files, path, [encodeManifest(manifest)])
    return path
  }

  #writeNow(manifest: Manifest): string {
    const path = this.#temporaryPath()
    writeNewFile(this.#context.files, path, encodeManifest(manifest))
    return path
  }

  #temporaryPath(): string {
    return join(this.#context.directory, temporaryName(MANIFEST_NAME, ++this.#writtenCount))
  }
}
