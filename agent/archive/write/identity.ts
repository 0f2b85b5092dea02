import type { Status } from '../../native/status.ts'
import { StampTable } from '../../tree/stamps.ts'

/** By what a file is known again: its number and the time of its last change. */
export interface Identity {
  readonly inode: number
  /** ctime, as `timeText` writes it. */
  readonly changed: string
}

export type Identify = (status: Status) => Identity

/** Of a tree that keeps its numbers and times in its images. */
export const ownIdentity: Identify = (status) => status

/**
 * Of a tree that others write to while it is read. What changed since `settledBeforeMs` (of the epoch) may change again within one tick
 * of the clock and keep its ctime: it is known by none, so the next increment reads it again. Changes through a mapping move the
 * ctime only if its pages were clean: whoever passes such a time has had them written before.
 */
export function livingIdentity(settledBeforeMs: number): Identify {
  const settledBefore = BigInt(settledBeforeMs) * 1_000_000n
  return (status) => {
    const { inode, changed } = status
    return status.changedNanoseconds < settledBefore ? status : { inode, changed: changed + UNSETTLED }
  }
}
/** Behind a ctime that says nothing. */
const UNSETTLED = '?'

/**
 * Of a snapshot that keeps numbers and times, but may have been taken in the middle of a write: with its time of change and without all of its data, which the
 * next snapshot has with the same time. A file with one name that changed since is known by no time, and read again if it is looked at.
 * @param sinceMs of the epoch
 */
export function takenIdentity(sinceMs: number): Identify {
  const since = BigInt(Math.floor(sinceMs)) * 1_000_000n
  return (status) => {
    if (status.kind !== 'file' || status.links > 1 || status.changedNanoseconds < since) return status
    return { inode: status.inode, changed: status.changed + UNSETTLED }
  }
}

function known(stamp: ReturnType<StampTable['find']>, changed: string): Identity | undefined {
  return stamp && { inode: stamp.inode, changed: stamp.changed ?? changed + UNSETTLED }
}

export function isSettled(changed: string): boolean {
  return !changed.endsWith(UNSETTLED)
}

export function settledTime(changed: string): string {
  return isSettled(changed) ? changed : changed.slice(0, -UNSETTLED.length)
}

/**
 * Of an image that is a clone: the number and time of the file that was cloned, where they are known.
 * @param fd of the stamps @throws conflict when they are not of this tree; corrupt
 */
export function stampedIdentity(fd: number, root: Status): Identify {
  const table = new StampTable(fd, root)
  const rootInode = root.inode
  let last: { readonly inode: number; readonly found: Identity | undefined } | undefined
  return (status) => {
    const { inode } = status
    // Changed after it was cloned: it does not hold what the live file held. The root is renamed into place behind the rest.
    if (status.changedNanoseconds > table.finishedNanoseconds && inode !== rootInode) return status
    if (last?.inode !== inode) last = { inode, found: known(table.find(inode), status.changed) }
    return last.found ?? status
  }
}
