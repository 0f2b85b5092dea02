import { cString, libc } from './libc.ts'
import { checked, lastErrorCode } from './system-error.ts'

/** XATTR_LIST_MAX and XATTR_SIZE_MAX, linux/limits.h. */
const LIMIT_BYTES = 65_536
/** What Holdfast notes on its own directories; never copied with them. */
const OWN_PREFIX = 'trusted.holdfast.'
/** Of a note: a path, whose bytes may become two each, and some words. */
const NOTE_BYTES = 16_384
const INHERITED_ACLS = [cString('system.posix_acl_access'), cString('system.posix_acl_default')] as const

/** The three calls, on an open descriptor or on a name that cannot be opened (a link, a fifo). */
interface XattrCalls {
  list(names: Buffer): number
  get(name: Buffer, value: Buffer): number
}

/** Copies extended attributes, ACLs among them. Owns its scratch space: one a thread. */
export class XattrCopier {
  readonly #names = Buffer.allocUnsafeSlow(LIMIT_BYTES)
  readonly #value = Buffer.allocUnsafeSlow(LIMIT_BYTES)

  /** @throws SystemError; an attribute that the target's file system does not know is left out, as `cp -a` does. */
  copyDescriptor(sourceFd: number, targetFd: number): void {
    const { flistxattr, fgetxattr, fsetxattr } = libc()
    const used = flistxattr(sourceFd, this.#names, LIMIT_BYTES)
    if (used === 0) return
    const calls = {
      list: () => used,
      get: (name: Buffer, value: Buffer) => fgetxattr(sourceFd, name, value, LIMIT_BYTES),
    }
    this.#copy(calls, (name, bytes) => fsetxattr(targetFd, name, this.#value, bytes, 0))
  }

  /** Of names whose last component is not followed, as `/proc/self/fd/N/name`. */
  copyPath(sourcePath: Buffer, targetPath: Buffer): void {
    const { llistxattr, lgetxattr, lsetxattr } = libc()
    const calls = {
      list: (names: Buffer) => llistxattr(sourcePath, names, LIMIT_BYTES),
      get: (name: Buffer, value: Buffer) => lgetxattr(sourcePath, name, value, LIMIT_BYTES),
    }
    this.#copy(calls, (name, bytes) => lsetxattr(targetPath, name, this.#value, bytes, 0))
  }

  #copy(source: XattrCalls, set: (name: Buffer, bytes: number) => number): void {
    const used = source.list(this.#names)
    if (used < 0 && lastErrorCode() === 'EOPNOTSUPP') return
    checked('listxattr', used)
    for (let start = 0; start < used; ) {
      const end = this.#names.indexOf(0, start) + 1
      const name = this.#names.subarray(start, end)
      start = end
      if (name.toString('latin1').startsWith(OWN_PREFIX)) continue
      const bytes = source.get(name, this.#value)
      if (bytes < 0 && lastErrorCode() === 'ENODATA') continue
      const result = set(name, checked('getxattr', bytes))
      if (result < 0 && lastErrorCode() !== 'EOPNOTSUPP') checked('setxattr', result)
    }
  }
}

/** Takes away the ACLs that a new file or directory inherited from its parent's default ACL. */
export function dropInheritedAcls(fd: number): void {
  for (const name of INHERITED_ACLS) {
    const result = libc().fremovexattr(fd, name)
    if (result < 0 && !['ENODATA', 'EOPNOTSUPP', 'EINVAL'].includes(lastErrorCode())) checked('removexattr', result)
  }
}

/** The same of what cannot be opened, by a name that is not followed, as `/proc/self/fd/N/name`; no link. */
export function dropInheritedAclsOf(path: Buffer): void {
  for (const name of INHERITED_ACLS) {
    const result = libc().lremovexattr(path, name)
    if (result < 0 && !['ENODATA', 'EOPNOTSUPP', 'EINVAL'].includes(lastErrorCode())) checked('removexattr', result)
  }
}

/** Notes `value`, of 16 KiB at the most, on a file or directory of ours. @returns false where the file system keeps no trusted attributes */
export function writeNote(fd: number, note: string, value: string): boolean {
  const bytes = Buffer.from(value)
  const result = libc().fsetxattr(fd, cString(`${OWN_PREFIX}${note}`), bytes, bytes.length, 0)
  if (result < 0 && ['EOPNOTSUPP', 'EPERM'].includes(lastErrorCode())) return false
  checked('setxattr', result)
  return true
}

export function readNote(fd: number, note: string): string | undefined {
  const value = Buffer.allocUnsafe(NOTE_BYTES)
  const bytes = libc().fgetxattr(fd, cString(`${OWN_PREFIX}${note}`), value, value.length)
  if (bytes < 0 && ['ENODATA', 'EOPNOTSUPP', 'EPERM'].includes(lastErrorCode())) return undefined
  return value.toString('utf8', 0, checked('getxattr', bytes))
}
