import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { Id } from '../../../shared/ids.ts'
import type { Watch } from '../../drivers/driver.ts'
import { cString } from '../../native/libc.ts'
import { close, removeDirectory } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { Capture, CaptureName } from '../volumes.ts'
import { appear } from './appear.ts'
import { makeFolder } from './folders.ts'
import { openImage } from './images.ts'
import { discard, type FillMode } from './staging.ts'
import { imageOf, openIfAny, READ_FOLDER, snapshotImageOf, type VolumeTree } from './volume-tree.ts'

/** Below `volumes`: `.points/<key of the volume>/<id of the point>`, images that no volume or snapshot is. */
const CAPTURES = '.points'
const KEY_DIGITS = 32

interface Place {
  readonly tree: VolumeTree
  readonly rootFd: number
  readonly mode: FillMode
}

/** Paths of volumes are too long for names. */
function folderOf(volume: string): string {
  return `${CAPTURES}/${createHash('sha256').update(volume).digest('hex').slice(0, KEY_DIGITS)}`
}

/** @throws invalid */
function pathOf({ volume, id }: CaptureName): string {
  if (!Id.safeParse(id).success) throw new FleetError('invalid', 'that is no id of a point')
  return `${folderOf(volume)}/${id}`
}

/**
 * One that is there is found, of whatever instant. Where blocks cannot be shared, a snapshot is read itself: what would be copied of it
 * could only be thrown away.
 */
export async function captureImage(
  { tree, rootFd, mode }: Place,
  { volume, snapshot, id }: CaptureName & { readonly snapshot?: string | undefined },
  watch: Watch,
): Promise<Capture> {
  const path = pathOf({ volume, id })
  const standing = captureAt(tree, rootFd, path)
  if (standing !== undefined) return standing
  const source = snapshot === undefined ? imageOf(volume) : snapshotImageOf(volume, snapshot)
  const absent = snapshot === undefined ? `volume ${volume}` : `snapshot ${volume}@${snapshot}`
  if (mode === 'copy' && snapshot !== undefined) return captureAt(tree, rootFd, source) ?? notFound(absent)
  const sourceFd = openImage(rootFd, source) ?? notFound(absent)
  try {
    const homeFd = await makeFolder(rootFd, folderOf(volume))
    await appear({ rootFd, homeFd, name: id }, { kind: 'snapshot', content: { sourceFd, mode } }, watch)
  } finally {
    close(sourceFd)
  }
  return captureAt(tree, rootFd, path) ?? notFound(absent)
}

export function findCaptured(tree: VolumeTree, rootFd: number, name: CaptureName): Capture | undefined {
  return captureAt(tree, rootFd, pathOf(name))
}

export async function dropCaptured(rootFd: number, name: CaptureName): Promise<void> {
  pathOf(name)
  await dropFrom(rootFd, folderOf(name.volume), [name.id])
}

/** All of a volume that is no more. */
export async function dropAllCaptured(rootFd: number, volume: string): Promise<void> {
  await dropFrom(rootFd, folderOf(volume), undefined)
}

async function dropFrom(rootFd: number, folder: string, ids: readonly string[] | undefined): Promise<void> {
  const folderFd = openIfAny(rootFd, folder, READ_FOLDER)
  if (folderFd === undefined) return
  try {
    for (const id of ids ?? (await readdir(`/proc/self/fd/${folderFd}`))) await discard(folderFd, id)
  } finally {
    close(folderFd)
  }
  removeIfEmpty(rootFd, folder)
}

function removeIfEmpty(rootFd: number, folder: string): void {
  try {
    const [home = '', name = ''] = folder.split('/')
    const homeFd = openIfAny(rootFd, home, READ_FOLDER)
    if (homeFd === undefined) return
    try {
      removeDirectory(homeFd, cString(name))
    } finally {
      close(homeFd)
    }
  } catch (error) {
    if (errorCodeOf(error) !== 'ENOTEMPTY') throw error
  }
}

function captureAt(tree: VolumeTree, rootFd: number, path: string): Capture | undefined {
  const fd = openImage(rootFd, path)
  if (fd === undefined) return undefined
  try {
    return { device: join(tree.path, path), sizeBytes: new Status().readDescriptor(fd).sizeBytes }
  } finally {
    close(fd)
  }
}

function notFound(what: string): never {
  throw new FleetError('not_found', `there is no ${what}`)
}
