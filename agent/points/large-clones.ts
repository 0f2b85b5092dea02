import { constants } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { type BytePath, parentOf } from '../archive/byte-path.ts'
import { CLONE_NOTE, heldText, type LargeFile, type LargeFiles, parseHeld } from '../archive/large-file.ts'
import { DirectoryReader } from '../native/directory-entries.ts'
import { type CString, cString, libc } from '../native/libc.ts'
import { close, howBeneath, makeDirectory, O_PATH, openBeneath, removeFile, tryOpenBeneath } from '../native/paths.ts'
import { LARGE_BYTES } from '../native/reflink.ts'
import { renameBetween } from '../native/rename-between.ts'
import { Status } from '../native/status.ts'
import { checked, errorCodeOf } from '../native/system-error.ts'
import { readNote, writeNote } from '../native/xattrs.ts'

/** All that is in a dataset that is kept behind a point: clones of large files, each named by the number of the file that lives. */
const FOLDER = cString('files')
const PRIVATE_MODE = 0o700
const PRIVATE_FILE_MODE = 0o600
const MAX_CLONES = 4_096
/** Looked at without letting anybody else have a turn: some milliseconds. */
const AT_ONCE = 64
const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY
const READ_FILE = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
/** Breaks nobody's lease. */
const LOOK = howBeneath(O_PATH | constants.O_NOFOLLOW)

/** @param rootFd of a dataset that is kept @returns undefined where it has no clones */
export function openClones(rootFd: number): number | undefined {
  const fd = tryOpenBeneath(rootFd, FOLDER, howBeneath(READ_DIRECTORY))
  return fd < 0 ? undefined : fd
}

/** Makes the folder of a dataset where it is missing. @returns open for reading */
export function makeClones(rootFd: number): number {
  try {
    makeDirectory(rootFd, FOLDER, PRIVATE_MODE)
  } catch (error) {
    if (errorCodeOf(error) !== 'EEXIST') throw error
  }
  return openBeneath(rootFd, FOLDER.subarray(0, -1), READ_DIRECTORY)
}

/** Removes the clones of what was written anew, and of files that live no more or are not large any more. @returns how many are left */
export async function pruneClones(
  folderFd: number,
  { livingFd, written }: { readonly livingFd: number; readonly written: LargeFiles },
): Promise<number> {
  const replaced = new Set(written.files.map(({ inode }) => String(inode)))
  const names: Buffer[] = []
  new DirectoryReader().forEach(folderFd, (entry) => names.push(entry.copyName()))
  let left = 0
  for (const [index, name] of names.entries()) {
    if (index % AT_ONCE === AT_ONCE - 1) await setImmediate()
    const number = name.toString('latin1', 0, name.length - 1)
    if (!replaced.has(number) && lives(number, heldBy(folderFd, name), livingFd)) left += 1
    else removeFile(folderFd, name)
  }
  return left
}

function heldBy(folderFd: number, name: CString) {
  const fd = tryOpenBeneath(folderFd, name, READ_FILE)
  if (fd < 0) return undefined
  try {
    return parseHeld(readNote(fd, CLONE_NOTE) ?? '')
  } finally {
    close(fd)
  }
}

function lives(number: string, held: ReturnType<typeof heldBy>, livingFd: number): boolean {
  if (held === undefined || String(held.inode) !== number) return false
  const fd = tryOpenBeneath(livingFd, cString(bytesOf(held.path)), LOOK)
  if (fd < 0) return false
  try {
    const { kind, inode, sizeBytes, links } = new Status().readDescriptor(fd)
    return kind === 'file' && inode === held.inode && sizeBytes >= LARGE_BYTES && links === 1
  } finally {
    close(fd)
  }
}

/**
 * Moves clones of what was written out of the image that it was read in, each with a note of what it holds, and root's alone: nobody else may write to
 * it, and no quota counts it.
 * @param held how many are in the folder @returns how many are now
 */
export async function placeClones(
  folderFd: number,
  { imageFd, written, held }: { readonly imageFd: number; readonly written: LargeFiles; readonly held: number },
): Promise<number> {
  let count = held
  for (const [index, file] of onlyOnes(written).entries()) {
    if (index % AT_ONCE === AT_ONCE - 1) await setImmediate()
    if (count < MAX_CLONES && isPlaced(folderFd, imageFd, file)) count += 1
  }
  return count
}

/** Without those whose number came twice: they were renamed while the image was made. */
function onlyOnes({ files }: LargeFiles): readonly LargeFile[] {
  const times = new Map<number, number>()
  for (const { inode } of files) times.set(inode, (times.get(inode) ?? 0) + 1)
  return files.filter(({ inode }) => times.get(inode) === 1)
}

/** A file that cannot be kept is not: then the next point has all of it. */
function isPlaced(folderFd: number, imageFd: number, file: LargeFile): boolean {
  try {
    return isNoted(imageFd, file) && isMovedIn(folderFd, imageFd, file)
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error
    return false
  }
}

function isNoted(imageFd: number, file: LargeFile): boolean {
  const fd = checked('openat2', tryOpenBeneath(imageFd, cString(bytesOf(file.path)), READ_FILE))
  try {
    const { kind, links, inode, changed, sizeBytes } = new Status().readDescriptor(fd)
    const isSame = inode === file.read.inode && changed === file.read.changed && sizeBytes === file.sizeBytes
    if (kind !== 'file' || links !== 1 || !isSame) return false
    checked('fchown', libc().fchown(fd, 0, 0))
    checked('fchmod', libc().fchmod(fd, PRIVATE_FILE_MODE))
    return writeNote(fd, CLONE_NOTE, heldText(file))
  } finally {
    close(fd)
  }
}

function isMovedIn(folderFd: number, imageFd: number, { path, inode, read }: LargeFile): boolean {
  const [parent, to] = [parentOf(path), cString(String(inode))]
  const name = bytesOf(path.slice(parent === '' ? 0 : parent.length + 1))
  const parentFd = openBeneath(imageFd, parent === '' ? '.' : bytesOf(parent), READ_DIRECTORY)
  try {
    renameBetween({ directoryFd: parentFd, name: cString(name) }, { directoryFd: folderFd, name: to }, 0)
  } finally {
    close(parentFd)
  }
  if (new Status().readName(folderFd, to)?.inode === read.inode) return true
  removeFile(folderFd, to)
  return false
}

function bytesOf(path: BytePath): Buffer {
  return Buffer.from(path, 'latin1')
}
