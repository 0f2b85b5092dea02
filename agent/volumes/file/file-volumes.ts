import { realpathSync } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import { VOLUME_GRAIN_BYTES } from '../../../shared/volume-spec.ts'
import { throwIfCancelled } from '../../drivers/pool-layout.ts'
import { libc } from '../../native/libc.ts'
import { close } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { checked } from '../../native/system-error.ts'
import type { Volume, Volumes } from '../volumes.ts'
import { appear } from './appear.ts'
import { captureImage, dropCaptured, findCaptured } from './captures.ts'
import { cloneImages, imageNameOf } from './clone-images.ts'
import { destroyImage, destroySnapshotImage, sweepStaged } from './destroy-images.ts'
import { makeFolder, openHome } from './folders.ts'
import { findSnapshot, findVolume, openImage, WRITE_IMAGE } from './images.ts'
import { partImage } from './part-image.ts'
import { stageVolume } from './staged-volume.ts'
import type { FillMode } from './staging.ts'
import {
  checkedPath,
  checkedSnapshot,
  imageOf,
  openVolumeTree,
  snapshotImageOf,
  snapshotsOf,
  volumeOf,
} from './volume-tree.ts'
import { writeOut } from './write-out.ts'

/**
 * Volumes are raw sparse images below a pool's directory; snapshots and clones share their blocks, or are copies of them. What each is
 * stands on it in an extended attribute. All are staged, written out, and appear by one rename.
 *
 * `isWritten` compares the time of modification with the one that the image was given when it was made: a write is not seen if somebody
 * sets that time back, or if the host loses power before its file system has written the time out. A resize counts as a write.
 * @param poolPath absolute
 */
export async function createFileVolumes(poolPath: string, mode: FillMode): Promise<Volumes> {
  const tree = await openVolumeTree(poolPath)

  return {
    cow: mode === 'share',

    create(request, watch) {
      const volume = checkedPath(request.volume)
      const sizeBytes = wholeGrains(request.sizeBytes)
      throwIfCancelled(watch.signal)
      return tree.within(`volume ${volume}`, async (rootFd) => {
        const found = () => sameVolume(findVolume(tree, rootFd, volume), sizeBytes)
        const standing = found()
        if (standing !== undefined) return standing
        const homeFd = await openHome(rootFd, volume, request.createParent)
        const plan = { kind: 'volume', content: { sizeBytes } } as const
        await appear({ rootFd, homeFd, name: imageNameOf(volume) }, plan, watch)
        return found() ?? vanished(volume)
      })
    },

    snapshot(request, watch) {
      const [volume, snapshot] = [checkedPath(request.volume), checkedSnapshot(request.snapshot)]
      throwIfCancelled(watch.signal)
      return tree.within(`snapshot ${volume}@${snapshot}`, async (rootFd) => {
        const standing = findSnapshot(rootFd, volume, snapshot)
        if (standing !== undefined) return standing
        const sourceFd = openImage(rootFd, imageOf(volume))
        if (sourceFd === undefined) throw volumeNotFound(volume)
        try {
          const homeFd = await makeFolder(rootFd, snapshotsOf(volume))
          const path = snapshotImageOf(volume, snapshot)
          const plan = { kind: 'snapshot', content: { sourceFd, mode } } as const
          await appear({ rootFd, homeFd, name: path.slice(path.lastIndexOf('/') + 1) }, plan, watch)
        } finally {
          close(sourceFd)
        }
        return findSnapshot(rootFd, volume, snapshot) ?? vanished(`${volume}@${snapshot}`)
      })
    },

    clone: (requests, watch) => tree.within('clone', (rootFd) => cloneImages({ tree, rootFd, mode }, requests, watch)),

    part(path, { signal }) {
      const volume = checkedPath(path)
      throwIfCancelled(signal)
      return tree.within(`volume ${volume}`, async (rootFd) => {
        await partImage(rootFd, volume)
        return findVolume(tree, rootFd, volume) ?? vanished(volume)
      })
    },

    settle: async () => undefined,

    resize(request, { signal }) {
      const volume = checkedPath(request.volume)
      throwIfCancelled(signal)
      return tree.within(`volume ${volume}`, async (rootFd) => {
        await grow(rootFd, volume, wholeGrains(request.sizeBytes))
        return findVolume(tree, rootFd, volume) ?? vanished(volume)
      })
    },

    destroy(path, { signal }) {
      const volume = checkedPath(path)
      throwIfCancelled(signal)
      return tree.within(`volume ${volume}`, (rootFd) => destroyImage(rootFd, volume))
    },

    destroySnapshot(path, name, { signal }) {
      const [volume, snapshot] = [checkedPath(path), checkedSnapshot(name)]
      throwIfCancelled(signal)
      return tree.within(`snapshot ${volume}@${snapshot}`, (rootFd) => destroySnapshotImage(rootFd, volume, snapshot))
    },

    find: (path) => tree.within(`volume ${path}`, async (rootFd) => findVolume(tree, rootFd, checkedPath(path))),
    findSnapshot: (path, snapshot) =>
      tree.within(`snapshot ${path}@${snapshot}`, async (rootFd) =>
        findSnapshot(rootFd, checkedPath(path), checkedSnapshot(snapshot)),
      ),

    stage(request, watch) {
      const volume = checkedPath(request.volume)
      const { content } = request
      if ('snapshot' in content) checkedSnapshot(content.snapshot)
      throwIfCancelled(watch.signal)
      const whole = 'sizeBytes' in content ? { sizeBytes: wholeGrains(content.sizeBytes) } : content
      return stageVolume({ tree, mode }, { ...request, volume, content: whole }, watch)
    },

    // Of copies everything differs.
    keepsCaptures: mode === 'share',

    capture(request, watch) {
      const volume = checkedPath(request.volume)
      if (request.snapshot !== undefined) checkedSnapshot(request.snapshot)
      throwIfCancelled(watch.signal)
      return tree.within(`volume ${volume}`, (rootFd) => captureImage({ tree, rootFd, mode }, request, watch))
    },
    findCapture: (name) => tree.within(`volume ${name.volume}`, async (rootFd) => findCaptured(tree, rootFd, name)),
    dropCapture: (name) => tree.within(`volume ${name.volume}`, (rootFd) => dropCaptured(rootFd, name)),

    at(device) {
      const root = [tree.path, realOf(tree.path)].find((path) => device.startsWith(`${path}/`))
      return root === undefined ? undefined : volumeOf(device.slice(root.length + 1))
    },

    async list(after, limit) {
      const { listVolumes } = await import('./list-volumes.ts')
      return tree.within('volumes', (rootFd) => listVolumes(tree, rootFd, { after, limit }))
    },

    sweep: () => tree.within('volumes', (rootFd) => sweepStaged(rootFd)),
  }
}

/** The pool's file system may be away. */
function realOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/** Sectors and pages fit; ZFS rounds too. */
function wholeGrains(sizeBytes: number): number {
  return Math.ceil(sizeBytes / VOLUME_GRAIN_BYTES) * VOLUME_GRAIN_BYTES
}

/** @throws exists when what is there is another one */
function sameVolume(found: Volume | undefined, sizeBytes: number): Volume | undefined {
  if (found === undefined || (found.sizeBytes === sizeBytes && found.origin === undefined)) return found
  throw new FleetError('exists', `volume ${found.path} is there already, and another one`)
}

async function grow(rootFd: number, volume: string, sizeBytes: number): Promise<void> {
  const fd = openImage(rootFd, imageOf(volume), WRITE_IMAGE)
  if (fd === undefined) throw volumeNotFound(volume)
  try {
    const now = new Status().readDescriptor(fd).sizeBytes
    if (now > sizeBytes) throw new FleetError('conflict', `volume ${volume} is larger than that: volumes only grow`)
    if (now < sizeBytes) checked('ftruncate', libc().ftruncate(fd, sizeBytes))
    await writeOut({ rootFd, fds: [fd], holds: 'names' })
  } finally {
    close(fd)
  }
}

function volumeNotFound(volume: string): FleetError {
  return new FleetError('not_found', `there is no volume ${volume}`)
}

function vanished(what: string): never {
  throw new FleetError('conflict', `${what} was removed while it was made`)
}
