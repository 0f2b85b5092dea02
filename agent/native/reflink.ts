import { settled } from './file-system.ts'
import { lastErrno, libc } from './libc.ts'
import { systemError } from './system-error.ts'

/** _IOW(0x94, 9, int), linux/fs.h. */
const FICLONE = 0x40049409
/** Of files of that size, what changed is found by the blocks that they share with what they were. Of shorter ones the whole is as good. */
export const LARGE_BYTES = 4 * 2 ** 20
/** Answers that mean "these two files cannot share blocks", not "this failed". ENOTTY: no such ioctl here. */
const CANNOT_SHARE = ['EXDEV', 'EOPNOTSUPP', 'EINVAL', 'ENOTTY', 'ENOSYS']

/**
 * Makes `target` share all of `source`'s blocks, at one instant of the file.
 * @returns false when they cannot share. @throws SystemError ENOSPC and the like
 */
export function reflink(sourceFd: number, targetFd: number): boolean {
  if (libc().ioctlNumber(targetFd, FICLONE, sourceFd) === 0) return true
  const error = systemError('FICLONE', lastErrno())
  if (CANNOT_SHARE.includes(error.code)) return false
  throw error
}

/** The same off the event loop: a file of many extents takes 5 to 12 µs for each of them. */
export async function reflinkInBackground(sourceFd: number, targetFd: number): Promise<boolean> {
  try {
    await settled('FICLONE', (done) => libc().ioctlNumber.async(targetFd, FICLONE, sourceFd, done))
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && CANNOT_SHARE.includes(String(error.code))) return false
    throw error
  }
}
