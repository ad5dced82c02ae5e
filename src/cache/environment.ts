/** The environment of a cache: files that are never synced, background work, an event loop. */

import { type Files, systemFiles } from '../io/files.ts'
import { type BackgroundWork, threadWork } from '../merge/thread.ts'
import type { EventLoop } from '../scheduling/event-loop.ts'

/** The parts of the system that a cache uses; tests replace them. */
export interface CacheEnvironment {
  readonly files: Files
  /** Whether a kernel lock keeps other processes out. */
  readonly lock: boolean
  /** Makes hints. */
  readonly backgroundWork: BackgroundWork
  /** The event loop that writes may block. @defaultValue the one of this thread */
  readonly loop?: EventLoop
}

/** The environment of this process. */
export const systemEnvironment: CacheEnvironment = {
  files: systemFiles,
  lock: true,
  backgroundWork: threadWork,
}

/** Returns `files` without syncs: a cache survives its process, not a power loss. */
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
    fileSystemType: (directory) => files.fileSystemType(directory),
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
