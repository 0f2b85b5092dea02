import { readdir } from 'node:fs'
import { promisify } from 'node:util'
import { FleetError } from '../../../shared/errors.ts'
import { sweepEach } from '../../drivers/sweep-each.ts'
import { DirectoryReader } from '../../native/directory-entries.ts'
import { cString } from '../../native/libc.ts'
import { close, openBeneath, RENAME_NOREPLACE, removeDirectory, removeFile } from '../../native/paths.ts'
import { renameBetween } from '../../native/rename-between.ts'
import { Status } from '../../native/status.ts'
import { dropAllCaptured } from './captures.ts'
import { openImage } from './images.ts'
import { readRecord } from './record.ts'
import { discard, openStaging } from './staging.ts'
import { clonesOf, entryOf, imageOf, openIfAny, READ_FOLDER, snapshotImageOf, snapshotsOf } from './volume-tree.ts'
import { writeOut } from './write-out.ts'

const listNames = promisify(readdir)
/** Named in one refusal; there may be more. */
const MAX_BLOCKERS = 100

/**
 * What may not be destroyed is found out, and what may loses its name, without a wait between: nothing of this agent comes between the
 * two. From then on it is gone; its blocks are freed after that, or by the next sweep.
 */
export async function destroyImage(rootFd: number, volume: string): Promise<void> {
  const image = imageOf(volume)
  const fd = openImage(rootFd, image)
  if (fd === undefined) return
  const { guid } = closing(fd, () => readRecord(fd))
  refuseBlocked(volume, snapshotBlockers(rootFd, volume))
  removeIfEmpty(rootFd, snapshotsOf(volume))
  await takeAway(rootFd, image, guid)
  await dropAllCaptured(rootFd, volume)
}

export async function destroySnapshotImage(rootFd: number, volume: string, snapshot: string): Promise<void> {
  const image = snapshotImageOf(volume, snapshot)
  const fd = openImage(rootFd, image)
  if (fd === undefined) return
  const { guid } = closing(fd, () => readRecord(fd))
  refuseBlocked(`${volume}@${snapshot}`, cloneBlockers(rootFd, volume, snapshot))
  removeIfEmpty(rootFd, clonesOf(volume, snapshot))
  await takeAway(rootFd, image, guid)
}

/** Removes what a call left staged that never came to its end. */
export async function sweepStaged(rootFd: number): Promise<void> {
  const stagingFd = openStaging(rootFd)
  try {
    await sweepEach(await listNames(`/proc/self/fd/${stagingFd}`), async (name) => {
      const isOurs = new Status().readName(stagingFd, cString(name))?.kind === 'file'
      if (isOurs) await removeStaged(rootFd, { stagingFd, name })
    })
  } finally {
    close(stagingFd)
  }
}

async function takeAway(rootFd: number, path: string, guid: string): Promise<void> {
  const end = path.lastIndexOf('/')
  const homeFd = openBeneath(rootFd, end < 0 ? '.' : path.slice(0, end), READ_FOLDER)
  const stagingFd = openStaging(rootFd)
  try {
    const from = { directoryFd: homeFd, name: cString(path.slice(end + 1)) }
    renameBetween(from, { directoryFd: stagingFd, name: cString(guid) }, RENAME_NOREPLACE)
    await writeOut({ rootFd, fds: [homeFd, stagingFd], holds: 'names' })
    await removeStaged(rootFd, { stagingFd, name: guid })
  } finally {
    close(stagingFd)
    close(homeFd)
  }
}

/** The name first by which its origin knows it: its guid, also where it lies under that of the image which took its place. */
export async function removeStaged(
  rootFd: number,
  { stagingFd, name }: { readonly stagingFd: number; readonly name: string },
): Promise<void> {
  const fd = openImage(stagingFd, name)
  if (fd === undefined) return
  const { clone, guid } = closing(fd, () => readRecord(fd))
  const clonesFd = clone && openIfAny(rootFd, clonesOf(clone.volume, clone.snapshot), READ_FOLDER)
  if (clonesFd !== undefined) closing(clonesFd, () => removeFile(clonesFd, cString(guid)))
  await discard(stagingFd, name)
}

function refuseBlocked(subject: string, blockers: readonly string[]): void {
  if (blockers.length === 0) return
  throw new FleetError('conflict', `${subject} is needed by what rests on it`, {
    blockers: blockers.toSorted().slice(0, MAX_BLOCKERS),
  })
}

/** Its snapshots, and what is cloned from them. */
function snapshotBlockers(rootFd: number, volume: string): readonly string[] {
  const blockers: string[] = []
  for (const name of namesIn(rootFd, snapshotsOf(volume))) {
    const entry = entryOf(name)
    if (entry?.kind !== 'image' || blockers.length >= MAX_BLOCKERS) continue
    blockers.push(`${volume}@${entry.name}`, ...cloneBlockers(rootFd, volume, entry.name))
  }
  return blockers
}

/** Those of its clones that are there; what is known of others that somebody removed by hand goes. */
function cloneBlockers(rootFd: number, volume: string, snapshot: string): readonly string[] {
  const folder = clonesOf(volume, snapshot)
  const blockers: string[] = []
  for (const guid of namesIn(rootFd, folder)) {
    if (blockers.length >= MAX_BLOCKERS) break
    const path = clonePath(rootFd, `${folder}/${guid}`)
    if (path !== undefined) blockers.push(path)
    else removeKnown(rootFd, folder, guid)
  }
  return blockers
}

/** @returns where the clone is that is known by this name */
function clonePath(rootFd: number, known: string): string | undefined {
  const fd = openImage(rootFd, known)
  if (fd === undefined) return undefined
  return closing(fd, () => {
    const path = readRecord(fd).clone?.path
    if (path === undefined) return undefined
    const imageFd = openImage(rootFd, imageOf(path))
    if (imageFd === undefined) return undefined
    return closing(imageFd, () => (inodeOf(imageFd) === inodeOf(fd) ? path : undefined))
  })
}

function removeKnown(rootFd: number, folder: string, guid: string): void {
  const folderFd = openBeneath(rootFd, folder, READ_FOLDER)
  closing(folderFd, () => removeFile(folderFd, cString(guid)))
}

function inodeOf(fd: number): number {
  return new Status().readDescriptor(fd).inode
}

function namesIn(rootFd: number, folder: string): readonly string[] {
  const fd = openIfAny(rootFd, folder, READ_FOLDER)
  if (fd === undefined) return []
  const names: string[] = []
  closing(fd, () =>
    new DirectoryReader().forEach(fd, (entry) => names.push(entry.copyName().subarray(0, -1).toString())),
  )
  return names
}

/** What else lies in it keeps it, and is left alone. */
function removeIfEmpty(rootFd: number, folder: string): void {
  const end = folder.lastIndexOf('/')
  const homeFd = openIfAny(rootFd, end < 0 ? '.' : folder.slice(0, end), READ_FOLDER)
  if (homeFd === undefined) return
  closing(homeFd, () => removeDirectory(homeFd, cString(folder.slice(end + 1))))
}

function closing<Result>(fd: number, use: () => Result): Result {
  try {
    return use()
  } finally {
    close(fd)
  }
}
