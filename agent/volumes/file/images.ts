import { constants } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { close } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import type { Volume, VolumeSnapshot } from '../volumes.ts'
import { readRecord } from './record.ts'
import { imageOf, openIfAny, snapshotImageOf, type VolumeTree } from './volume-tree.ts'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants
/** Opening a fifo that somebody put there must not wait. */
const READ_IMAGE = O_RDONLY | O_NONBLOCK | O_NOFOLLOW
export const WRITE_IMAGE = O_RDWR | O_NONBLOCK | O_NOFOLLOW

/** Opens the image of a volume or snapshot. @returns undefined when it is absent. @throws conflict for what is no file */
export function openImage(rootFd: number, path: string, flags = READ_IMAGE): number | undefined {
  const fd = openIfAny(rootFd, path, flags)
  if (fd === undefined || new Status().readDescriptor(fd).kind === 'file') return fd
  close(fd)
  throw new FleetError('conflict', 'what stands there is no image')
}

/** Runs `read` with the image open. @returns undefined when it is absent */
function withImage<Result>(rootFd: number, path: string, read: (fd: number) => Result): Result | undefined {
  const fd = openImage(rootFd, path)
  if (fd === undefined) return undefined
  try {
    return read(fd)
  } finally {
    close(fd)
  }
}

export function findVolume(tree: VolumeTree, rootFd: number, path: string): Volume | undefined {
  return withImage(rootFd, imageOf(path), (fd) => volumeAt(tree, rootFd, { path, fd }))
}

/** @param fd of its image */
export function volumeAt(
  tree: VolumeTree,
  rootFd: number,
  { path, fd }: { readonly path: string; readonly fd: number },
): Volume {
  const { guid, clone, isWritten } = readRecord(fd)
  const isThere = clone !== undefined && findSnapshot(rootFd, clone.volume, clone.snapshot)?.guid === clone.guid
  return {
    path,
    sizeBytes: new Status().readDescriptor(fd).sizeBytes,
    device: join(tree.path, imageOf(path)),
    guid,
    origin: clone && { guid: clone.guid, path: isThere ? clone.volume : undefined, snapshot: clone.snapshot },
    isWritten,
  }
}

export function findSnapshot(rootFd: number, volume: string, snapshot: string): VolumeSnapshot | undefined {
  return withImage(rootFd, snapshotImageOf(volume, snapshot), (fd) => snapshotAt(snapshot, fd))
}

/** @param fd of its image */
export function snapshotAt(name: string, fd: number): VolumeSnapshot {
  const { guid, madeAtMs } = readRecord(fd)
  return { name, guid, sizeBytes: new Status().readDescriptor(fd).sizeBytes, createdAtMs: madeAtMs }
}
