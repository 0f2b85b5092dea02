import koffi from 'koffi'
import { libc } from './libc.ts'
import { checked, systemError } from './system-error.ts'

const STATFS_BYTES = 120
const FSID_OFFSET = 56
const BTRFS_SUPER_MAGIC = 0x9123683e

/** What the file system under a descriptor is (`statfs.f_type`, linux/magic.h). */
export function isBtrfs(fd: number): boolean {
  return statfsOf(fd).readUInt32LE(0) === BTRFS_SUPER_MAGIC
}

/** The same for all descriptors of one file system; of btrfs, of one subvolume (`statfs.f_fsid`). */
export function fileSystemId(fd: number): string {
  return statfsOf(fd).toString('hex', FSID_OFFSET, FSID_OFFSET + 8)
}

function statfsOf(fd: number): Buffer {
  const statfs = Buffer.alloc(STATFS_BYTES)
  checked('fstatfs', libc().fstatfs(fd, statfs))
  return statfs
}

/** Writes the whole file system's dirty data out, off the event loop. @param fd not O_PATH */
export function syncFileSystem(fd: number): Promise<void> {
  return settled('syncfs', (done) => libc().syncfs.async(fd, done))
}

/** Awaits one call made on koffi's own threads; errno is that call's inside the callback. @throws SystemError */
export function settled(
  call: string,
  start: (done: (error: Error | null, result: number) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error, result) => {
      void start // its closure holds the buffers that the kernel is using; it must live until now
      if (error !== null) reject(error)
      else if (result < 0) reject(systemError(call, koffi.errno()))
      else resolve()
    })
  })
}
