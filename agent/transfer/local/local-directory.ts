import { constants, fstatSync } from 'node:fs'
import { DirectoryReader } from '../../native/directory-entries.ts'
import { cString } from '../../native/libc.ts'
import { close, makeDirectory, O_PATH, openBeneath, reopen } from '../../native/paths.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { segmentsOf } from '../target-path.ts'
import type { Entry } from '../transfer.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants
/** Only the agent reads what it keeps. */
const MODE = 0o700

/** Opens a directory below another for the length of `work`; no link is followed and none leads out. */
export async function withDirectory<Result>(
  place: { readonly rootFd: number; readonly path: string },
  work: (directoryFd: number) => Promise<Result> | Result,
): Promise<Result> {
  const fd = openBeneath(place.rootFd, segmentsOf(place.path).join('/') || '.', O_PATH | O_DIRECTORY)
  try {
    return await work(fd)
  } finally {
    close(fd)
  }
}

/** Makes every directory on the way that is missing. */
export async function makeDirectories(rootFd: number, path: string): Promise<void> {
  const segments = segmentsOf(path)
  for (const [depth, name] of segments.entries()) {
    const parent = segments.slice(0, depth).join('/')
    await withDirectory({ rootFd, path: parent }, (fd) => makeOne(fd, name))
  }
}

function makeOne(directoryFd: number, name: string): void {
  try {
    makeDirectory(directoryFd, cString(name), MODE)
  } catch (error) {
    if (errorCodeOf(error) !== 'EEXIST') throw error
  }
}

/** Of the name itself, never of what a link points to; undefined when it is absent. */
export function entryOf(directoryFd: number, name: string): Entry | undefined {
  let fd: number
  try {
    fd = openBeneath(directoryFd, name, O_PATH | O_NOFOLLOW)
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT' || errorCodeOf(error) === 'ENOTDIR') return undefined
    throw error
  }
  try {
    const status = fstatSync(fd)
    const kind = status.isFile() ? 'file' : status.isDirectory() ? 'directory' : 'other'
    return { name, kind, sizeBytes: kind === 'file' ? status.size : 0, modifiedAt: status.mtime }
  } finally {
    close(fd)
  }
}

/** Names in no order; those that are not UTF-8 hold U+FFFD. @param directoryFd may be O_PATH */
export function namesIn(directoryFd: number): readonly string[] {
  const readable = reopen(directoryFd, O_RDONLY | O_DIRECTORY)
  try {
    const names: string[] = []
    new DirectoryReader().forEach(readable, (entry) => names.push(entry.copyName().subarray(0, -1).toString()))
    return names
  } finally {
    close(readable)
  }
}
