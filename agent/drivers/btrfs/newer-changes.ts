import { constants } from 'node:fs'
import { setImmediate as breathe } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import { SUBVOLUME_ROOT_INODE, snapshotOrigin } from '../../native/btrfs.ts'
import { SubvolumeNames } from '../../native/btrfs-names.ts'
import { type NewerInode, newerInodes } from '../../native/btrfs-newer.ts'
import { DirectoryReader } from '../../native/directory-entries.ts'
import { cString } from '../../native/libc.ts'
import { close, howBeneath, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'
import type { Change, ChangeList } from '../driver.ts'

/** Beyond it a walk over the tree is as good. */
const MAX_CHANGES = 20_000
/** Of a directory whose entries are compared: what btrfs calls its size is twice the length of all names in it. */
const MAX_DIRECTORY_BYTES = 2 ** 20
/** Between two turns of the event loop. */
const TURN_MS = 5
/** Of an open that says that no such directory is there. */
const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])
const READ_DIRECTORY = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY)

/** Root directories of two snapshots, for reading. */
export interface OpenImages {
  readonly baseFd: number
  readonly imageFd: number
}

/**
 * Whether the number of a transaction tells what changed between them: both are snapshots of one subvolume, and still as they were made. What was made
 * of another one (of a dataset that was rolled back) may hold inodes that are older than the base and not in it.
 */
export function shareHistory({ baseFd, imageFd }: OpenImages): boolean {
  const [base, image] = [snapshotOrigin(baseFd), snapshotOrigin(imageFd)]
  if (!base.isPristine || !image.isPristine || base.sourceUuid === undefined) return false
  return base.sourceUuid === image.sourceUuid && base.transid <= image.transid
}

/**
 * What differs, by the inodes that were changed since the base was made. Of a directory among them the entries are compared, as what is gone shows
 * nowhere else.
 * @returns undefined where a directory is too large for that, or cannot be opened @throws too_large where so much has changed that a list is of no use; cancelled
 */
export async function newerChanges(images: OpenImages, signal: AbortSignal): Promise<ChangeList | undefined> {
  const comparison = new Comparison(images)
  const { transid } = snapshotOrigin(images.baseFd)
  for await (const inodes of newerInodes(images.imageFd, transid)) {
    let turnMs = performance.now()
    for (const inode of inodes) {
      if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
      if (!comparison.add(inode)) return undefined
      if (performance.now() - turnMs < TURN_MS) continue
      await breathe()
      turnMs = performance.now()
    }
  }
  return comparison.changes
}

class Comparison {
  readonly changes: Change[] = []
  readonly #images: OpenImages
  readonly #names: SubvolumeNames
  readonly #reader = new DirectoryReader()
  readonly #status = new Status()

  constructor(images: OpenImages) {
    this.#images = images
    this.#names = new SubvolumeNames(images.imageFd)
  }

  /** @returns false for a directory that is too large, or cannot be opened */
  add({ inode, isDirectory, links, name }: NewerInode): boolean {
    // Of a file that was deleted while it was open nothing but the inode is left.
    if (links === 0) return true
    if (isDirectory) return this.#addDirectory(inode)
    const paths = name === undefined ? this.#names.pathsOf(inode) : [this.#names.pathOf(name)]
    for (const path of paths) this.#add(path, false)
    return true
  }

  #addDirectory(inode: number): boolean {
    const path = inode === SUBVOLUME_ROOT_INODE ? '' : (this.#names.pathsOf(inode)[0] ?? '')
    const older = openDirectory(this.#images.baseFd, path)
    // What came or moved shows in the directory above.
    if (older < 0) return ABSENT.has(lastErrorCode())
    try {
      const { inode: olderInode, sizeBytes } = this.#status.readDescriptor(older)
      if (olderInode !== inode) return true
      this.#add(path, false)
      return sizeBytes <= MAX_DIRECTORY_BYTES && this.#compare(path, older)
    } finally {
      close(older)
    }
  }

  #compare(path: string, older: number): boolean {
    const fd = checked('openat2', openDirectory(this.#images.imageFd, path))
    try {
      if (this.#status.readDescriptor(fd).sizeBytes > MAX_DIRECTORY_BYTES) return false
      const [before, now] = [this.#entries(older), this.#entries(fd)]
      for (const [name, inode] of now) if (before.get(name) !== inode) this.#add(join(path, name), true)
      for (const name of before.keys()) if (!now.has(name)) this.#add(join(path, name), true)
      return true
    } finally {
      close(fd)
    }
  }

  #entries(fd: number): ReadonlyMap<string, number> {
    const entries = new Map<string, number>()
    this.#reader.forEach(fd, (entry) => {
      const name = entry.copyName()
      entries.set(name.toString('latin1', 0, name.length - 1), entry.inode())
    })
    return entries
  }

  #add(path: string, subtree: boolean): void {
    if (this.changes.length === MAX_CHANGES) throw new FleetError('too_large', 'too much has changed for a list')
    this.changes.push({ path, subtree })
  }
}

/** @returns negative where no directory is at the path */
function openDirectory(rootFd: number, path: string): number {
  return tryOpenBeneath(rootFd, cString(Buffer.from(path === '' ? '.' : path, 'latin1')), READ_DIRECTORY)
}

function join(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}
