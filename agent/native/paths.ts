import { constants } from 'node:fs'
import { type CString, cString, lastErrno, libc } from './libc.ts'
import { checked, lastErrorCode, systemError } from './system-error.ts'

/** Not in Node's constants; the same on x86-64 and arm64. */
export const O_PATH = 0o10000000
export const O_CLOEXEC = 0o2000000
const AT_FDCWD = -100
const AT_REMOVEDIR = 0x200
const SYS_OPENAT2 = 437
const { O_DIRECTORY, O_NOFOLLOW } = constants

/** `struct open_how.resolve`, linux/openat2.h. */
const RESOLVE = { noXdev: 0x01, noMagiclinks: 0x02, noSymlinks: 0x04, beneath: 0x08 } as const
const OPEN_HOW_BYTES = 24

export const RENAME_NOREPLACE = 1
export const RENAME_EXCHANGE = 2
export type RenameMode = 0 | typeof RENAME_NOREPLACE | typeof RENAME_EXCHANGE

/** Prepared `struct open_how`: opening many files needs no allocation. */
export type OpenHow = Buffer

/** No symbolic link (a trailing one may be opened itself with O_PATH | O_NOFOLLOW), no way up and out, no mount point. */
export function howBeneath(flags: number): OpenHow {
  return openHow(flags, RESOLVE.beneath | RESOLVE.noMagiclinks | RESOLVE.noSymlinks | RESOLVE.noXdev)
}

function openHow(flags: number, resolve: number): OpenHow {
  const how = Buffer.alloc(OPEN_HOW_BYTES)
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0)
  how.writeBigUInt64LE(BigInt(resolve), 16)
  return how
}

/** @returns a descriptor, or a negative number with errno set: for loops that tolerate some failures. */
export function tryOpenBeneath(directoryFd: number, path: CString, how: OpenHow): number {
  return libc().syscallOpen(SYS_OPENAT2, directoryFd, path, how, OPEN_HOW_BYTES)
}

/** A path that RESOLVE_BENEATH cannot settle while something is renamed is tried again this often (EAGAIN). */
const OPEN_ATTEMPTS = 100

/**
 * Opens `path` (relative) below a directory without following a link, leaving it, or crossing a mount.
 * @throws SystemError ELOOP (a link), EXDEV (out or across a mount), ENOENT, ENOTDIR
 */
export function openBeneath(directoryFd: number, path: string | Buffer, flags: number): number {
  return openPersistently(directoryFd, cString(path), howBeneath(flags))
}

/** Opens an absolute path on the host, following no link; it may cross mounts. */
export function openWithoutLinks(path: string, flags: number): number {
  return openPersistently(AT_FDCWD, cString(path), openHow(flags, RESOLVE.noMagiclinks | RESOLVE.noSymlinks))
}

function openPersistently(directoryFd: number, path: CString, how: OpenHow): number {
  for (let attempt = 1; ; attempt += 1) {
    const fd = tryOpenBeneath(directoryFd, path, how)
    if (fd >= 0) return fd
    const errno = lastErrno()
    const error = systemError('openat2', errno)
    if (error.code !== 'EAGAIN' || attempt === OPEN_ATTEMPTS) throw error
  }
}

/** A directory to resolve beneath, by its whole path; the last component must not be a link. */
export function openDirectory(path: string): number {
  return checked('open', libc().openat(AT_FDCWD, cString(path), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0))
}

/** The same file or directory as an O_PATH descriptor names, now for reading: no name is looked up again. */
export function reopen(pathFd: number, flags: number): number {
  return checked('open', libc().openat(AT_FDCWD, cString(`/proc/self/fd/${pathFd}`), flags | O_CLOEXEC, 0))
}

/** @throws SystemError EEXIST: what is there is never opened */
export function createFile(directoryFd: number, name: CString, mode: number): number {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | O_NOFOLLOW | O_CLOEXEC
  return checked('create', libc().openat(directoryFd, name, flags, mode))
}

export function close(fd: number): void {
  libc().close(fd)
}

export function makeDirectory(directoryFd: number, name: CString, mode: number): void {
  checked('mkdir', libc().mkdirat(directoryFd, name, mode))
}

export function rename(directoryFd: number, from: CString, to: CString, mode: RenameMode): void {
  checked('rename', libc().renameat2(directoryFd, from, directoryFd, to, mode))
}

/** Removes a file or link. @returns false when it was not there */
export function removeFile(directoryFd: number, name: CString): boolean {
  return removed('unlink', libc().unlinkat(directoryFd, name, 0))
}

/** Removes an empty directory. @returns false when it was not there */
export function removeDirectory(directoryFd: number, name: CString): boolean {
  return removed('rmdir', libc().unlinkat(directoryFd, name, AT_REMOVEDIR))
}

function removed(call: string, result: number): boolean {
  if (result < 0 && lastErrorCode() === 'ENOENT') return false
  checked(call, result)
  return true
}
