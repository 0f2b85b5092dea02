import { libc } from '../native/libc.ts'
import type { Status } from '../native/status.ts'
import { checked } from '../native/system-error.ts'
import { dropInheritedAcls, XattrCopier } from '../native/xattrs.ts'

/** `struct timespec[2]`. */
const TIMES_BYTES = 32
const ROOT = 0
const PERMISSION_BITS = 0o777
const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100

/**
 * Takes away what a new file or directory inherited from a parent that is not ours: its ACLs, and the group of a set-gid
 * directory.
 */
export function disinherit(fd: number): void {
  dropInheritedAcls(fd)
  checked('fchown', libc().fchown(fd, process.geteuid?.() ?? ROOT, process.getegid?.() ?? ROOT))
}

interface FilePair {
  readonly sourceFd: number
  readonly targetFd: number
  /** Permissions the target was made with. When they are the source's already, a change of the inode is saved. */
  readonly createdMode: number
}

/** Gives new files what `cp -a` preserves: owner, extended attributes and ACLs, mode, times to the nanosecond. One a thread. */
export class MetadataCopier {
  readonly #xattrs = new XattrCopier()
  readonly #times = Buffer.alloc(TIMES_BYTES)
  readonly #ourUid = process.geteuid?.() ?? ROOT
  readonly #ourGid = process.getegid?.() ?? ROOT
  readonly #umask = process.umask()

  /** What a file asked to be made with these permissions gets: set-id bits are left for after the chown. */
  createMode(permissions: number): number {
    return permissions & PERMISSION_BITS & ~this.#umask
  }

  /**
   * Onto a file or directory that this process made, with its own owner, below a directory that passes on no ACL.
   * The order matters: chown drops set-id bits and capabilities, an ACL changes the mode, and all of them touch times.
   */
  toDescriptor(status: Status, { sourceFd, targetFd, createdMode }: FilePair): void {
    const { fchown, fchmod, futimens } = libc()
    if (status.uid !== this.#ourUid || status.gid !== this.#ourGid) {
      checked('fchown', fchown(targetFd, status.uid, status.gid))
    }
    this.#xattrs.copyDescriptor(sourceFd, targetFd)
    if (createdMode !== status.permissions) checked('fchmod', fchmod(targetFd, status.permissions))
    status.copyTimes(this.#times)
    checked('futimens', futimens(targetFd, this.#times))
  }

  /** Onto something that cannot be opened: a symbolic link or a special file. Paths' last components are not followed. */
  toName(status: Status, paths: { readonly source: Buffer; readonly target: Buffer }): void {
    const { fchownat, fchmodat, utimensat } = libc()
    checked('fchownat', fchownat(AT_FDCWD, paths.target, status.uid, status.gid, AT_SYMLINK_NOFOLLOW))
    this.#xattrs.copyPath(paths.source, paths.target)
    if (status.kind !== 'symlink') checked('fchmodat', fchmodat(AT_FDCWD, paths.target, status.permissions, 0))
    status.copyTimes(this.#times)
    checked('utimensat', utimensat(AT_FDCWD, paths.target, this.#times, AT_SYMLINK_NOFOLLOW))
  }
}
