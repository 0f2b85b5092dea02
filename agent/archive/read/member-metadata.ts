import { cString, libc } from '../../native/libc.ts'
import type { Instant } from '../../native/status.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'
import { dropInheritedAcls, dropInheritedAclsOf } from '../../native/xattrs.ts'
import { aclValue } from '../posix-acl.ts'
import type { TarEntry } from './tar-parser.ts'

/** `struct timespec[2]`. */
const TIMES_BYTES = 32
const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const HIGH = 2 ** 32
const USUAL_SECONDS = 10
const USUAL_TIME = USUAL_SECONDS + '.123456789'.length
const POINT = 0x2e
const ZERO = 0x30
const TIME = /^(-?)(\d{1,15})(?:\.(\d*))?$/
const XATTR = 'SCHILY.xattr.'
/** What Holdfast notes on its own directories: no archive of ours has it, and none may forge it. */
const OWN_PREFIX = 'trusted.holdfast.'
/** What people set. The rest is the system's own, or goes with the ACLs. */
const GIVEN = /^(user|trusted)\./
const LIMIT_BYTES = 65_536
const ACLS: Readonly<Record<string, string>> = {
  'SCHILY.acl.access': 'system.posix_acl_access',
  'SCHILY.acl.default': 'system.posix_acl_default',
}

/** A new file without ACLs or other attributes. */
export interface Made {
  readonly uid: number
  readonly gid: number
  readonly mode: number
}

interface Attribute {
  readonly name: Buffer
  readonly value: Buffer
}

/** Gives what was extracted its owner, attributes, ACLs, mode and time, in the order in which none undoes another. */
export class MemberMetadata {
  readonly #times = Buffer.alloc(TIMES_BYTES)
  #names: Buffer | undefined

  /**
   * @param made what is known of it already, which saves a call each
   * @throws SystemError; an attribute that the file system does not know is left out, as tar does
   */
  toDescriptor(entry: TarEntry, fd: number, made?: Made): void {
    const { fchown, fchmod, futimens, fsetxattr } = libc()
    const isOwned = made !== undefined && made.uid === entry.uid && made.gid === entry.gid
    if (!isOwned) checked('fchown', fchown(fd, entry.uid, entry.gid))
    if (made === undefined) dropInheritedAcls(fd)
    // Before the ACL: a later chmod would set its mask, and bsdtar's modes are not the mask.
    if (!isOwned || made.mode !== entry.mode) checked('fchmod', fchmod(fd, entry.mode))
    for (const { name, value } of attributesOf(entry)) setOrSkip(fsetxattr(fd, name, value, value.length, 0))
    checked('futimens', futimens(fd, this.#timesOf(entry.mtime)))
  }

  /** Attributes that a directory has of an older state, and the entry has not. */
  dropOthers(entry: TarEntry, fd: number): void {
    this.#names ??= Buffer.allocUnsafeSlow(LIMIT_BYTES)
    const used = libc().flistxattr(fd, this.#names, LIMIT_BYTES)
    if (used <= 0) return
    const kept = new Set([...attributesOf(entry)].map(({ name }) => name.toString('latin1', 0, name.length - 1)))
    for (const name of this.#names.toString('latin1', 0, used).split('\0')) {
      if (kept.has(name) || !GIVEN.test(name) || name.startsWith(OWN_PREFIX)) continue
      checked('removexattr', libc().fremovexattr(fd, cString(Buffer.from(name, 'latin1'))))
    }
  }

  /** @param modified decimal seconds */
  timeToDescriptor(modified: string, fd: number): void {
    checked('futimens', libc().futimens(fd, this.#timesOf(modified)))
  }

  /** Of what cannot be opened. @param path `/proc/self/fd/N/name`, NUL-terminated; its last component is not followed */
  toName(entry: TarEntry, path: Buffer): void {
    const { fchownat, fchmodat, utimensat, lsetxattr } = libc()
    checked('fchownat', fchownat(AT_FDCWD, path, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW))
    if (entry.type !== 'symlink') dropInheritedAclsOf(path)
    if (entry.type !== 'symlink') checked('fchmodat', fchmodat(AT_FDCWD, path, entry.mode, 0))
    for (const { name, value } of attributesOf(entry)) setOrSkip(lsetxattr(path, name, value, value.length, 0))
    checked('utimensat', utimensat(AT_FDCWD, path, this.#timesOf(entry.mtime), AT_SYMLINK_NOFOLLOW))
  }

  /** The time of access is set too, to the same: the archive holds none. */
  #timesOf(mtime: string): Buffer {
    const { seconds, nanoseconds } = parseTime(mtime)
    const high = Math.floor(seconds / HIGH)
    for (const at of [0, 16]) {
      this.#times.writeInt32LE(high, at + 4)
      this.#times.writeUInt32LE(seconds - high * HIGH, at)
      this.#times.writeUInt32LE(nanoseconds, at + 8)
    }
    return this.#times
  }
}

/** The other way of `timeText`; what is finer than a nanosecond is dropped. */
function parseTime(text: string): Instant {
  if (text.length === USUAL_TIME && text.charCodeAt(USUAL_SECONDS) === POINT) {
    const seconds = digits(text, 0, USUAL_SECONDS)
    const nanoseconds = digits(text, USUAL_SECONDS + 1, USUAL_TIME)
    if (seconds >= 0 && nanoseconds >= 0) return { seconds, nanoseconds }
  }
  const match = TIME.exec(text)
  if (match === null) return { seconds: 0, nanoseconds: 0 }
  const nanoseconds = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'))
  const seconds = Number(match[2])
  if (match[1] === '') return { seconds, nanoseconds }
  return nanoseconds === 0
    ? { seconds: -seconds, nanoseconds }
    : { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds }
}

/** @returns negative where others are among them */
function digits(text: string, start: number, end: number): number {
  let value = 0
  for (let at = start; at < end; at += 1) {
    const digit = text.charCodeAt(at) - ZERO
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}

function setOrSkip(result: number): void {
  // EPERM: user attributes on links and devices, which no tool can set.
  if (result < 0 && !['EOPNOTSUPP', 'EPERM'].includes(lastErrorCode())) checked('setxattr', result)
}

function* attributesOf({ attributes }: TarEntry): Generator<Attribute> {
  for (const [key, value] of attributes) {
    const acl = ACLS[key]
    const binary = acl === undefined ? undefined : aclValue(value)
    if (acl !== undefined && binary !== undefined) yield { name: cString(acl), value: binary }
    if (!key.startsWith(XATTR)) continue
    const name = key.slice(XATTR.length).replaceAll('%3D', '=').replaceAll('%25', '%')
    if (name.startsWith(OWN_PREFIX) || name.includes('\0')) continue
    yield { name: cString(name), value: Buffer.from(value, 'latin1') }
  }
}
