import { libc } from '../../native/libc.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'
import { aclText } from '../posix-acl.ts'
import { paxRecord } from '../tar-header.ts'

/** XATTR_LIST_MAX and XATTR_SIZE_MAX, linux/limits.h. */
const LIMIT_BYTES = 65_536
/** Enough nearly always: the kernel takes memory of this size for each call. */
const USUAL_BYTES = 1_024
/** What Holdfast notes on its own directories. */
const OWN_PREFIX = 'trusted.holdfast.'
const ACLS: Readonly<Record<string, string>> = {
  'system.posix_acl_access': 'SCHILY.acl.access',
  'system.posix_acl_default': 'SCHILY.acl.default',
}
const NONE: readonly Buffer[] = []

/** Reads extended attributes as pax records that GNU tar, bsdtar and star know. Owns its scratch space: one a thread. */
export class AttributeRecords {
  readonly #names = Buffer.allocUnsafeSlow(LIMIT_BYTES)
  readonly #value = Buffer.allocUnsafeSlow(LIMIT_BYTES)

  /** @throws SystemError */
  ofDescriptor(fd: number): readonly Buffer[] {
    const used = attempted((bytes) => libc().flistxattr(fd, this.#names, bytes))
    if (used === 0) return NONE
    return this.#records(used, (name, bytes) => libc().fgetxattr(fd, name, this.#value, bytes))
  }

  /** Of a name that is not followed: NUL-terminated, as `/proc/self/fd/N/name`. */
  ofPath(path: Buffer): readonly Buffer[] {
    const used = attempted((bytes) => libc().llistxattr(path, this.#names, bytes))
    if (used === 0) return NONE
    return this.#records(used, (name, bytes) => libc().lgetxattr(path, name, this.#value, bytes))
  }

  #records(used: number, get: (name: Buffer, bytes: number) => number): readonly Buffer[] {
    if (used < 0 && ['EOPNOTSUPP', 'EACCES', 'ENOENT'].includes(lastErrorCode())) return NONE
    checked('listxattr', used)
    const records: Buffer[] = []
    for (let start = 0; start < used; ) {
      const end = this.#names.indexOf(0, start) + 1
      const name = this.#names.subarray(start, end)
      start = end
      const text = name.toString('latin1', 0, name.length - 1)
      if (text.startsWith(OWN_PREFIX)) continue
      const bytes = attempted((limit) => get(name, limit))
      // An attribute that went, or that only another right could read, is no reason to lose the file.
      if (bytes < 0 && ['ENODATA', 'EOPNOTSUPP', 'EACCES', 'EPERM'].includes(lastErrorCode())) continue
      records.push(recordOf(text, this.#value.subarray(0, checked('getxattr', bytes))))
    }
    return records
  }
}

function attempted(call: (bytes: number) => number): number {
  const result = call(USUAL_BYTES)
  return result < 0 && lastErrorCode() === 'ERANGE' ? call(LIMIT_BYTES) : result
}

function recordOf(name: string, value: Buffer): Buffer {
  const acl = ACLS[name]
  const text = acl === undefined ? undefined : aclText(value)
  if (acl !== undefined && text !== undefined) return paxRecord(acl, text)
  // GNU tar's own escapes: a keyword ends at its first '='.
  const keyword = name.replaceAll('%', '%25').replaceAll('=', '%3D')
  return paxRecord(`SCHILY.xattr.${keyword}`, value)
}
