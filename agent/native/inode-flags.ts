import { libc } from './libc.ts'

/** _IOR('f', 1, long) and _IOW('f', 2, long), linux/fs.h; the kernel takes an int. */
const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const IMMUTABLE = 0x10
const APPEND_ONLY = 0x20
const FLAGS_BYTES = 8

/** Takes away what keeps a file from being removed, or a directory from losing entries (`chattr +i`, `+a`). @returns whether that was there, and is not any more */
export function unlock(fd: number): boolean {
  const flags = Buffer.alloc(FLAGS_BYTES)
  // A file system that has none says so.
  if (libc().ioctlBuffer(fd, FS_IOC_GETFLAGS, flags) < 0) return false
  const now = flags.readUInt32LE(0)
  const free = now & ~(IMMUTABLE | APPEND_ONLY)
  if (free === now) return false
  flags.writeUInt32LE(free >>> 0, 0)
  return libc().ioctlBuffer(fd, FS_IOC_SETFLAGS, flags) >= 0
}
