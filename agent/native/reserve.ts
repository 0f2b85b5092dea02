import { settled } from './file-system.ts'
import { libc } from './libc.ts'
import { errorCodeOf } from './system-error.ts'

/** fcntl's FALLOC_FL_KEEP_SIZE, linux/falloc.h: blocks are taken, the size stays. */
const KEEP_SIZE = 1

/**
 * Takes room for a file before it is written. @returns false where the file system cannot.
 * @throws SystemError ENOSPC, EDQUOT, EFBIG
 */
export async function reserveSpace(fd: number, sizeBytes: number): Promise<boolean> {
  if (sizeBytes === 0) return true
  try {
    await settled('fallocate', (done) => libc().fallocate.async(fd, KEEP_SIZE, 0, sizeBytes, done))
    return true
  } catch (error) {
    if (errorCodeOf(error) === 'EOPNOTSUPP') return false
    throw error
  }
}
