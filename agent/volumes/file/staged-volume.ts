import assert from 'node:assert/strict'
import { futimes } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { FleetError } from '../../../shared/errors.ts'
import type { Watch } from '../../drivers/driver.ts'
import { throwIfCancelled } from '../../drivers/pool-layout.ts'
import { cString, libc } from '../../native/libc.ts'
import { close, RENAME_EXCHANGE, RENAME_NOREPLACE, removeFile } from '../../native/paths.ts'
import { renameBetween } from '../../native/rename-between.ts'
import { Status } from '../../native/status.ts'
import { checked, errorCodeOf } from '../../native/system-error.ts'
import type { StagedVolume, StageRequest } from '../volumes.ts'
import { snapshotNotFound } from './clone-desk.ts'
import { imageNameOf } from './clone-images.ts'
import { removeStaged } from './destroy-images.ts'
import { openHome } from './folders.ts'
import { findSnapshot, findVolume, openImage } from './images.ts'
import { type ImageRecord, readRecord } from './record.ts'
import { discard, type FillMode, openStaging, type StagedImage, stageImage } from './staging.ts'
import { clonesOf, imageOf, openIfAny, READ_FOLDER, STAGED, snapshotImageOf, type VolumeTree } from './volume-tree.ts'
import { writeOut } from './write-out.ts'

const setTimes = promisify(futimes)

interface Place {
  readonly tree: VolumeTree
  readonly mode: FillMode
}

/**
 * An image in `.staged` that changes places with the volume's by one rename, whole and on disk: what stood there goes from `.staged`, now or
 * with the next sweep. Its record says from the start which volume it is.
 */
export async function stageVolume({ tree, mode }: Place, request: StageRequest, watch: Watch): Promise<StagedVolume> {
  const { volume, content } = request
  const subject = `volume ${volume}`
  const image = await tree.within(subject, async (rootFd) => {
    // Its absence is told before anything is written; what is made of it is no volume.
    close(await openHome(rootFd, volume, request.createParent))
    const stagingFd = openStaging(rootFd)
    try {
      if ('sizeBytes' in content) return await stageImage({ stagingFd, kind: 'volume', content }, watch)
      return await stageAsAt(rootFd, { volume, snapshot: content.snapshot, stagingFd, mode }, watch)
    } finally {
      close(stagingFd)
    }
  })
  // Of what shares all of its blocks nothing is to be written.
  const holds = mode === 'share' && 'snapshot' in content ? 'names' : 'data'
  let isOpen = true
  let isPut = false
  return {
    guid: image.guid,
    sizeBytes: new Status().readDescriptor(image.fd).sizeBytes,
    device: join(tree.path, STAGED, image.guid),

    put: (as, { signal }) =>
      tree.within(subject, async (rootFd) => {
        throwIfCancelled(signal)
        await writeOut({ rootFd, fds: [image.fd], holds })
        const homeFd = await openHome(rootFd, volume, request.createParent)
        const stagingFd = openStaging(rootFd)
        try {
          giveName(rootFd, { homeFd, stagingFd }, { image, volume, as })
          isPut = true
          await writeOut({ rootFd, fds: [homeFd, stagingFd], holds: 'names' })
          // What it took the place of. The next sweep removes what is left.
          if (as === 'over') await removeStaged(rootFd, { stagingFd, name: image.guid }).catch(() => undefined)
        } finally {
          close(stagingFd)
          close(homeFd)
        }
        return findVolume(tree, rootFd, volume) ?? assert.fail('a volume vanished when it was put')
      }),

    async [Symbol.asyncDispose]() {
      if (isOpen) image[Symbol.dispose]()
      isOpen = false
      if (isPut) return
      await tree.within(subject, async (rootFd) => {
        const stagingFd = openStaging(rootFd)
        try {
          await discard(stagingFd, image.guid)
        } finally {
          close(stagingFd)
        }
      })
    },
  }
}

interface Wanted {
  readonly volume: string
  readonly snapshot: string
  readonly stagingFd: number
  readonly mode: FillMode
}

/** A clone of what the volume is a clone of, if it is one: as much as the snapshot was. Counts as written. */
async function stageAsAt(
  rootFd: number,
  { volume, snapshot, stagingFd, mode }: Wanted,
  watch: Watch,
): Promise<StagedImage> {
  const clone = originOf(rootFd, volume)
  const sourceFd = openImage(rootFd, snapshotImageOf(volume, snapshot))
  if (sourceFd === undefined) throw snapshotNotFound(volume, snapshot)
  try {
    const content = { sourceFd, mode }
    const image = await stageImage({ stagingFd, kind: 'volume', content, ...(clone && { clone }) }, watch)
    const now = new Date()
    await setTimes(image.fd, now, now)
    return image
  } finally {
    close(sourceFd)
  }
}

function originOf(rootFd: number, volume: string): ImageRecord['clone'] {
  const fd = openImage(rootFd, imageOf(volume))
  if (fd === undefined) throw notFound(volume)
  try {
    return readRecord(fd).clone
  } finally {
    close(fd)
  }
}

/** Its origin's snapshot knows of it, then it has its name: without a wait between. */
function giveName(
  rootFd: number,
  { homeFd, stagingFd }: { readonly homeFd: number; readonly stagingFd: number },
  { image, volume, as }: { readonly image: StagedImage; readonly volume: string; readonly as: 'new' | 'over' },
): void {
  const from = { directoryFd: stagingFd, name: cString(image.guid) }
  const to = { directoryFd: homeFd, name: cString(imageNameOf(volume)) }
  if (as === 'over') requireImage(rootFd, volume)
  const clonesFd = openClones(rootFd, readRecord(image.fd).clone)
  try {
    if (clonesFd !== undefined) checked('link', libc().linkat(stagingFd, from.name, clonesFd, from.name, 0))
    renameBetween(from, to, as === 'over' ? RENAME_EXCHANGE : RENAME_NOREPLACE)
  } catch (error) {
    if (clonesFd !== undefined) removeFile(clonesFd, from.name)
    if (errorCodeOf(error) !== 'EEXIST') throw error
    throw new FleetError('exists', `volume ${volume} is there already`)
  } finally {
    if (clonesFd !== undefined) close(clonesFd)
  }
}

/** Where the snapshot knows its clones; undefined where that is gone, or another one by now. */
function openClones(rootFd: number, clone: ImageRecord['clone']): number | undefined {
  if (clone === undefined || findSnapshot(rootFd, clone.volume, clone.snapshot)?.guid !== clone.guid) return undefined
  return openIfAny(rootFd, clonesOf(clone.volume, clone.snapshot), READ_FOLDER)
}

function requireImage(rootFd: number, volume: string): void {
  const fd = openImage(rootFd, imageOf(volume))
  if (fd === undefined) throw notFound(volume)
  close(fd)
}

function notFound(volume: string): FleetError {
  return new FleetError('not_found', `there is no volume ${volume}`)
}
