/** What a cache stands on: files that are never synced, background work, an event loop. */

import { type Files, systemFiles } from '../io/files.ts'
import { type BackgroundWork, threadWork } from '../merge/thread.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'

/** What a cache stands on; tests put others in its place. */
export interface CacheEnvironment {
  readonly files: Files
  /** Whether a kernel lock keeps others out. */
  readonly lock: boolean
  /** What makes hints. */
  readonly backgroundWork: BackgroundWork
  /** The event loop that writes keep waiting. @defaultValue the one that this runs on */
  readonly loop?: EventLoop
}

/** The machine that this runs on. */
export const systemEnvironment: CacheEnvironment = {
  files: systemFiles,
  lock: true,
  backgroundWork: threadWork,
}

/** A cache survives its process, not the power: nothing is ever synced. */
export function neverSynced(files: Files): Files {
  return {
    open: (path, mode) => files.open(path, mode),
    openLater: (path, mode) => files.openLater(path, mode),
    close: (file) => files.close(file),
    closeLater: (file) => files.closeLater(file),
    read: (file, target, at, size, position) => files.read(file, target, at, size, position),
    write: (file, source, at, size, position) => files.write(file, source, at, size, position),
    writeLater: (file, source, at, size, position) =>
      files.writeLater(file, source, at, size, position),
    areWritesSlow: (byteCount) => files.areWritesSlow(byteCount),
    truncate: (file, size) => files.truncate(file, size),
    size: (file) => files.size(file),
    rename: (from, to) => files.rename(from, to),
    remove: (path) => files.remove(path),
    link: (from, to) => files.link(from, to),
    list: (directory) => files.list(directory),
    freeBytes: (directory) => files.freeBytes(directory),
    makeDirectory: (directory) => files.makeDirectory(directory),
    identify: (at) => files.identify(at),
    hold(directory) {
      const held = files.hold(directory)
      return {
        directory: held.directory,
        identity: held.identity,
        sync() {},
        async syncLater() {},
        spendSpare: () => held.spendSpare(),
        saveSpare: () => held.saveSpare(),
        close: () => held.close(),
      }
    },
    sync() {},
    async syncLater() {},
    syncDirectory() {},
    async syncDirectoryLater() {},
  }
}
