import { constants } from 'node:fs'
import { libc } from '../../native/libc.ts'
import { howBeneath } from '../../native/paths.ts'

/** How the content of a file of a tree is opened: never waiting, should it be a fifo by now. */
export const READ_FILE = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
/** Of each; the kernel reads ahead by itself in what is longer. */
const BYTES_AHEAD = 131_072
/** linux/fadvise.h */
const POSIX_FADV_WILLNEED = 3

/** Has the kernel begin to read what is not in memory. */
export function askForContent(fd: number): void {
  libc().posix_fadvise(fd, 0, BYTES_AHEAD, POSIX_FADV_WILLNEED)
}
