import { constants } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import { DirectoryReader } from '../native/directory-entries.ts'
import { unlock } from '../native/inode-flags.ts'
import { libc } from '../native/libc.ts'
import { close, howBeneath, removeDirectory, removeFile, tryOpenBeneath } from '../native/paths.ts'
import { Status } from '../native/status.ts'
import { checked, errorCodeOf, lastErrorCode } from '../native/system-error.ts'
import type { Counters } from './counters.ts'

/** Who may stop it and learns how much is gone. */
type Watch = Pick<Counters, 'throwIfStopped' | 'addFiles'>

const MAX_DEPTH = 4_096
/** How often a directory that fills up again is emptied before that counts as somebody's use of it. */
const MAX_ROUNDS = 100
const READ_DIRECTORY = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY)
const READ_ANY = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
const SEEK_SET = 0

interface Level {
  readonly name: Buffer
  readonly fd: number
  readonly subdirectories: Buffer[]
  rounds: number
}

/**
 * Removes whatever stands at `name`, by descriptors alone: no link is followed and no mount point entered. Absence is fine.
 * Synchronous: for a worker thread, or for what is known to be small.
 * @param name NUL-terminated
 * @param unlocks what may not be changed (`chattr +i`, `+a`) goes with the rest, as it does with a subvolume
 * @throws SystemError; cancelled; conflict (a mount point inside); busy (somebody keeps filling it)
 */
export function removeTree(parentFd: number, name: Buffer, counters: Watch, unlocks = false): void {
  const levels: Level[] = []
  const reader = new DirectoryReader()
  try {
    descend(levels, parentFd, name, unlocks)
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      counters.throwIfStopped()
      const subdirectory = level.subdirectories.pop()
      if (subdirectory !== undefined) descend(levels, level.fd, subdirectory, unlocks)
      else if (!empty(level, reader, counters)) leave(levels, parentFd, unlocks)
    }
  } finally {
    for (const level of levels) close(level.fd)
  }
}

/** Removes a file at once; a directory becomes the topmost level. */
function descend(levels: Level[], parentFd: number, name: Buffer, unlocks: boolean): void {
  const fd = tryOpenBeneath(parentFd, name, READ_DIRECTORY)
  if (fd >= 0) {
    levels.push({ name, fd, subdirectories: [], rounds: 0 })
    if (levels.length > MAX_DEPTH) throw new FleetError('too_large', `the tree is deeper than ${MAX_DEPTH} levels`)
    return
  }
  const code = lastErrorCode()
  if (code === 'ENOENT') return
  if (code === 'EXDEV') throw new FleetError('conflict', 'a mount point stands inside the directory to be removed')
  if (code !== 'ENOTDIR' && code !== 'ELOOP') checked('openat2', fd)
  removed({ parentFd, name, isWithin: levels.length > 0, unlocks }, removeFile)
}

interface Place {
  readonly parentFd: number
  readonly name: Buffer
  /** Its parent goes too. */
  readonly isWithin: boolean
  readonly unlocks: boolean
}

function removed(
  { parentFd, name, isWithin, unlocks }: Place,
  remove: (parentFd: number, name: Buffer) => boolean,
): void {
  try {
    remove(parentFd, name)
  } catch (error) {
    if (!unlocks || errorCodeOf(error) !== 'EPERM') throw error
    const isParentFree = isWithin && unlock(parentFd)
    if (!isFreed(parentFd, name) && !isParentFree) throw error
    remove(parentFd, name)
  }
}

function isFreed(parentFd: number, name: Buffer): boolean {
  const kind = new Status().readName(parentFd, name)?.kind
  if (kind !== 'file' && kind !== 'directory') return false
  const fd = tryOpenBeneath(parentFd, name, READ_ANY)
  if (fd < 0) return false
  try {
    return unlock(fd)
  } finally {
    close(fd)
  }
}

/** Removes the level's files and notes its directories. @returns whether it held anything */
function empty(level: Level, reader: DirectoryReader, counters: Watch): boolean {
  level.rounds += 1
  if (level.rounds > MAX_ROUNDS) throw new FleetError('busy', 'the directory is being filled while it is removed')
  const { unlinkat, lseek } = libc()
  checked('lseek', lseek(level.fd, 0, SEEK_SET))
  let found = false
  reader.forEach(level.fd, (entry) => {
    counters.throwIfStopped()
    found = true
    if (entry.type === 'directory' || unlinkat(level.fd, entry.name, 0) < 0) level.subdirectories.push(entry.copyName())
    else counters.addFiles(1)
  })
  return found
}

function leave(levels: Level[], rootParentFd: number, unlocks: boolean): void {
  const level = levels.pop()
  if (level === undefined) return
  close(level.fd)
  const above = levels.at(-1)
  const place = { parentFd: above?.fd ?? rootParentFd, name: level.name, isWithin: above !== undefined, unlocks }
  removed(place, removeDirectory)
}
