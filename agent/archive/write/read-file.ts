import { constants } from 'node:fs'
import { libc } from '../../native/libc.ts'
import { MemoryReader } from '../../native/memory-reader.ts'
import { howBeneath } from '../../native/paths.ts'
import { lastErrorCode } from '../../native/system-error.ts'
import type { ProblemReason } from '../member.ts'

/** How the content of a file of a tree is opened: never waiting, should it be a fifo by now. */
export const READ_FILE = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
/** Of what lives: without a trace of having been read. */
export const READ_LIVE_FILE = howBeneath(
  constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOATIME,
)
/** Of each; the kernel reads ahead by itself in what is longer. */
const BYTES_AHEAD = 131_072
/** linux/fadvise.h */
const POSIX_FADV_WILLNEED = 3

/** Has the kernel begin to read what is not in memory. */
export function askForContent(fd: number): void {
  libc().posix_fadvise(fd, 0, BYTES_AHEAD, POSIX_FADV_WILLNEED)
}

/** Tells whether reading would wait for a disk. One a thread. */
export class MemoryProbe {
  readonly #reader = new MemoryReader(Buffer.allocUnsafeSlow(1))

  /** @returns whether a byte of a file is in memory, as the kernel may refuse to tell: then it is taken to be elsewhere */
  has(fd: number, place = 0): boolean {
    const read = this.#reader.read(fd, 1, place)
    // A directory or the like is not read at all.
    return read >= 0 || !['EAGAIN', 'EOPNOTSUPP'].includes(lastErrorCode())
  }
}

/** Reads until the room is full or there is no more. */
export function readFully(
  fd: number,
  room: Buffer,
  position: number,
): { readonly read: number; readonly problem: ProblemReason | undefined } {
  let read = 0
  while (read < room.length) {
    const bytes = libc().pread(fd, read === 0 ? room : room.subarray(read), room.length - read, position + read)
    if (bytes < 0) return { read, problem: 'unreadable' }
    if (bytes === 0) return { read, problem: 'changed' }
    read += bytes
  }
  return { read, problem: undefined }
}
