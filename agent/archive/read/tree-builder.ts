import { constants, ftruncateSync, readFileSync, writeSync } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import { cString, lastErrno, libc } from '../../native/libc.ts'
import { close, createFile, howBeneath, makeDirectory, removeFile, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { checked, errorCodeOf, lastErrorCode, systemError } from '../../native/system-error.ts'
import type { Counters } from '../../tree/counters.ts'
import { removeTree } from '../../tree/remove-tree.ts'
import { type BytePath, displayPath, isWithin, joinPath, nameOf, parentOf } from '../byte-path.ts'
import { type Made, MemberMetadata } from './member-metadata.ts'
import { MAX_NAME_BYTES, placeOf, staysInside } from './member-name.ts'
import type { TarEntry } from './tar-parser.ts'
import type { TreeMaker } from './tree-maker.ts'

const MAX_DEPTH = 2_048
const STAGED_MODE = 0o700
const FILE_MODE = 0o600
const PERMISSIONS = 0o777
const NO_BYTES = Buffer.alloc(0)
const NO_FILE = -1
const READ_DIRECTORY = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY)
const WRITE_FILE = howBeneath(constants.O_WRONLY | constants.O_NOFOLLOW)
/** What one system call takes of a path is 4,096 bytes; deeper ones are opened in pieces of whole names. */
const MAX_PIECE_BYTES = 4_000
const MAX_LINK_BYTES = 4_096

export interface BuildPolicy {
  /** `refuse`: a device node ends the extraction. */
  readonly devices: 'make' | 'refuse'
  /** `inside`: a symbolic link whose text leads out of the tree ends the extraction. None is ever followed either way. */
  readonly symlinks: 'keep' | 'inside'
  /** Each directory comes before all it holds, and once, as in our own archives. */
  readonly ordered: boolean
  /** An older state of the tree is there: what its directories have and ours have not goes. */
  readonly isUpdate?: boolean
}

interface Level {
  readonly path: BytePath
  readonly fd: number
  entry: TarEntry | undefined
  /** What a file that is made in it is like, once one was looked at; `unknown` where it inherits attributes. */
  newFile: Made | 'unknown' | undefined
  /** Its time when it was entered again: members of a foreign archive come in any order, and none changes it. */
  readonly modified: string | undefined
}

/**
 * Makes a tree below an open directory by descriptors alone: every component is opened below its parent, no symbolic link
 * is followed and no mount entered, so no member reaches outside. Directories get their metadata when they are left.
 */
export class TreeBuilder implements TreeMaker {
  readonly #policy: BuildPolicy
  readonly #levels: Level[]
  readonly #metadata = new MemberMetadata()
  readonly #status = new Status()
  readonly #mask = creationMask()
  /** A file's name, in memory that is used again: of a million small Buffers a collector sees little, and comes by late. */
  readonly #fileName = Buffer.allocUnsafeSlow(MAX_NAME_BYTES + 1)
  #made: Made | undefined
  #file = NO_FILE

  /** @param rootFd stays open */
  constructor(rootFd: number, policy: BuildPolicy) {
    this.#policy = policy
    const fd = checked('openat2', tryOpenBeneath(rootFd, cString('.'), READ_DIRECTORY))
    this.#levels = [{ path: '', fd, entry: undefined, newFile: undefined, modified: undefined }]
  }

  /** @throws refused, SystemError */
  directory(entry: TarEntry): void {
    const level = this.#descend(placeOf(entry.name), entry.name)
    level.entry = entry
  }

  beginFile(entry: TarEntry, isFirst: boolean): void {
    this.#file = isFirst ? this.#newFile(entry) : this.#fileAgain(entry)
  }

  write(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#file, bytes, done, bytes.length - done, position + done)
  }

  setLength(size: number): void {
    ftruncateSync(this.#file, size)
  }

  endFile(entry: TarEntry, isLast: boolean): void {
    if (isLast) this.#metadata.toDescriptor(entry, this.#file, this.#made)
    this.#closeFile()
  }

  #closeFile(): void {
    if (this.#file !== NO_FILE) close(this.#file)
    this.#file = NO_FILE
  }

  #newFile(entry: TarEntry): number {
    const { level, path } = this.#parent(entry.name)
    const name = cBytes(nameOf(path), this.#fileName)
    const { newFile } = level
    // Where it is the owner's at once it has its last mode at once; else nobody reads it before the owner is set.
    const isKnown = typeof newFile === 'object' && newFile.uid === entry.uid && newFile.gid === entry.gid
    const mode = isKnown ? entry.mode & PERMISSIONS : FILE_MODE
    const fd = this.#replacing(level.fd, name, () => createFile(level.fd, name, mode))
    if (newFile === undefined) level.newFile = this.#look(fd)
    this.#made = typeof newFile === 'object' ? { ...newFile, mode: mode & ~this.#mask } : undefined
    return fd
  }

  #fileAgain(entry: TarEntry): number {
    const { level, path } = this.#parent(entry.name)
    this.#made = undefined
    return checked('openat2', tryOpenBeneath(level.fd, cBytes(nameOf(path), this.#fileName), WRITE_FILE))
  }

  /** Groups come from the directory on some mounts, ACLs and labels on others: so a new file is looked at, once a directory. */
  #look(fd: number): Made | 'unknown' {
    if (libc().flistxattr(fd, NO_BYTES, 0) !== 0) return 'unknown'
    const { uid, gid, permissions } = this.#status.readDescriptor(fd)
    return { uid, gid, mode: permissions }
  }

  special(entry: TarEntry): void {
    const { level, path } = this.#parent(entry.name)
    const { fd } = level
    const name = cBytes(nameOf(path))
    if ((entry.type === 'character' || entry.type === 'block') && this.#policy.devices === 'refuse')
      throw refused(entry.name, 'device nodes are not permitted here')
    if (entry.type === 'symlink') {
      if (this.#policy.symlinks === 'inside' && !staysInside(path, entry.link))
        throw refused(entry.name, 'its link leads out of the tree')
      this.#replacing(fd, name, () => checked('symlink', libc().symlinkat(cBytes(entry.link), fd, name)))
    } else {
      const kind = { character: constants.S_IFCHR, block: constants.S_IFBLK, fifo: constants.S_IFIFO }[
        entry.type as 'fifo'
      ]
      const device = makeDevice(entry.major, entry.minor)
      this.#replacing(fd, name, () => checked('mknod', libc().mknodat(fd, name, kind | entry.mode, device)))
    }
    this.#metadata.toName(entry, Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]))
  }

  hardLink(entry: TarEntry, target: BytePath): void {
    const from = placeOf(target)
    const { level, path } = this.#parent(entry.name)
    const { fd } = level
    const name = cBytes(nameOf(path))
    const [root] = this.#levels
    const parent = parentOf(from)
    const parentFd = parent === '' ? (root?.fd ?? -1) : tryOpenDeep(root?.fd ?? -1, parent)
    if (parentFd < 0) throw refused(entry.name, 'its hard link leads to nothing in the tree')
    try {
      if (this.#policy.symlinks === 'inside' && !linkStaysInside(path, parentFd, cBytes(nameOf(from))))
        throw refused(entry.name, 'its link leads out of the tree')
      this.#replacing(fd, name, () => checked('link', libc().linkat(parentFd, cBytes(nameOf(from)), fd, name, 0)))
    } catch (error) {
      if (errorCodeOf(error) !== 'ENOENT') throw error
      throw refused(entry.name, 'its hard link leads to nothing in the tree')
    } finally {
      if (parent !== '') close(parentFd)
    }
  }

  /** Of an older tree, what stands at a path with all below it, or only what is no directory. */
  clear(path: BytePath, onlyOther: boolean, counters: Counters): void {
    if (path === '') return
    const { fd } = this.#parent(path).level
    const name = cBytes(nameOf(path))
    if (libc().unlinkat(fd, name, 0) === 0) return
    const code = lastErrorCode()
    if (code === 'ENOENT') return
    if (code !== 'EISDIR') throw systemError('unlink', lastErrno())
    if (!onlyOther) removeTree(fd, name, counters)
  }

  pause(): void {}

  /** Gives the directories that are still open their metadata. */
  finish(): void {
    while (this.#levels.length > 1) this.#leave()
    const [root] = this.#levels
    if (root?.entry !== undefined) this.#finishDirectory(root.entry, root.fd)
  }

  close(): void {
    this.#closeFile()
    for (const { fd } of this.#levels) close(fd)
    this.#levels.length = 0
  }

  /** @returns the directory to make it in, and its place in the tree */
  #parent(memberName: BytePath): { readonly level: Level; readonly path: BytePath } {
    const path = placeOf(memberName)
    if (path === '') throw refused(memberName, 'the root of the tree is a directory')
    return { level: this.#descend(parentOf(path), memberName), path }
  }

  /** Goes to a directory, making what is missing on the way. */
  #descend(path: BytePath, memberName: BytePath): Level {
    let top = this.#top
    while (!isWithin(path, top.path)) {
      this.#leave()
      top = this.#top
    }
    if (path === top.path) return top
    const rest = top.path === '' ? path : path.slice(top.path.length + 1)
    for (const name of rest.split('/')) {
      if (this.#levels.length > MAX_DEPTH) throw refused(memberName, 'it is too deep in the tree')
      const { fd, isNew } = openOrMake(top.fd, cBytes(name), memberName)
      const modified = isNew ? undefined : this.#status.readDescriptor(fd).modified
      top = { path: joinPath(top.path, name), fd, entry: undefined, newFile: undefined, modified }
      this.#levels.push(top)
    }
    return top
  }

  get #top(): Level {
    const top = this.#levels.at(-1)
    if (top === undefined) throw new FleetError('internal', 'the tree is closed')
    return top
  }

  #leave(): void {
    const level = this.#levels.pop()
    if (level === undefined) return
    try {
      if (level.entry !== undefined) this.#finishDirectory(level.entry, level.fd)
      else if (level.modified !== undefined) this.#metadata.timeToDescriptor(level.modified, level.fd)
    } finally {
      close(level.fd)
    }
  }

  #finishDirectory(entry: TarEntry, fd: number): void {
    if (this.#policy.isUpdate === true) this.#metadata.dropOthers(entry, fd)
    this.#metadata.toDescriptor(entry, fd)
  }

  /** A later member of a name replaces an earlier one, as tar does; a directory it does not. */
  #replacing(fd: number, name: Buffer, make: () => number): number {
    try {
      return make()
    } catch (error) {
      if (errorCodeOf(error) !== 'EEXIST') throw error
      removeFile(fd, name)
      return make()
    }
  }
}

function openOrMake(
  parentFd: number,
  name: Buffer,
  memberName: BytePath,
): { readonly fd: number; readonly isNew: boolean } {
  const fd = tryOpenBeneath(parentFd, name, READ_DIRECTORY)
  if (fd >= 0) return { fd, isNew: false }
  const code = lastErrorCode()
  if (code === 'ELOOP' || code === 'ENOTDIR') throw refused(memberName, 'a parent of it is not a directory')
  if (code !== 'ENOENT') throw refused(memberName, `a parent of it cannot be opened (${code})`)
  makeDirectory(parentFd, name, STAGED_MODE)
  return { fd: checked('openat2', tryOpenBeneath(parentFd, name, READ_DIRECTORY)), isNew: true }
}

/** The text of a symbolic link that gets a second name means something else there. Of anything that is none: true. */
function linkStaysInside(path: BytePath, directoryFd: number, name: Buffer): boolean {
  const text = Buffer.alloc(MAX_LINK_BYTES)
  const length = libc().readlinkat(directoryFd, name, text, MAX_LINK_BYTES)
  return length < 0 || staysInside(path, text.toString('latin1', 0, length))
}

/** @returns a descriptor, or a negative number with errno set */
function tryOpenDeep(rootFd: number, path: BytePath): number {
  let fd = rootFd
  for (let rest = path; rest !== ''; ) {
    const end = rest.length <= MAX_PIECE_BYTES ? rest.length : rest.lastIndexOf('/', MAX_PIECE_BYTES)
    const next = tryOpenBeneath(fd, cBytes(rest.slice(0, end)), READ_DIRECTORY)
    if (fd !== rootFd) close(fd)
    if (next < 0) return next
    fd = next
    rest = rest.slice(end + 1)
  }
  return fd
}

function refused(name: BytePath, why: string): FleetError {
  return new FleetError('refused', `member '${displayPath(name)}': ${why}`)
}

/** NUL-terminated. @param bytes what to write it in; valid until that is written again */
function cBytes(path: BytePath, bytes = Buffer.allocUnsafe(path.length + 1)): Buffer {
  bytes.write(path, 'latin1')
  bytes[path.length] = 0
  return bytes
}

/** What the kernel takes from the mode of a new file; threads may not ask Node for it. */
function creationMask(): number {
  const text = /^Umask:\s+([0-7]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]
  return text === undefined ? PERMISSIONS : Number.parseInt(text, 8)
}

/** The huge encoding of glibc's makedev. */
function makeDevice(major: number, minor: number): number {
  return (major >>> 12) * 2 ** 44 + (minor >>> 8) * 2 ** 20 + (major & 0xfff) * 2 ** 8 + (minor & 0xff)
}
