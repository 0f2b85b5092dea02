import { fsync } from 'node:fs'
import { promisify } from 'node:util'
import { commitTransaction } from '../../native/btrfs-commit.ts'
import { isBtrfs } from '../../native/file-system.ts'

const flush = promisify(fsync)

interface Made {
  readonly rootFd: number
  /** Of files or folders; not O_PATH. */
  readonly fds: readonly number[]
  /** `data`: bytes were written into them. `names`: no more than names, shared blocks, sizes and attributes. */
  readonly holds: 'data' | 'names'
}

/**
 * Resolves once all of it is on disk. XFS and ext4 write many fsyncs out together; btrfs writes its log for each, and a whole
 * transaction for a folder in which something was renamed, so there one transaction serves all (64 clones: 20 ms instead of 230).
 */
export async function writeOut({ rootFd, fds, holds }: Made): Promise<void> {
  if (holds === 'names' && isBtrfs(rootFd)) await commitTransaction(rootFd)
  else await Promise.all(fds.map((fd) => flush(fd)))
}
