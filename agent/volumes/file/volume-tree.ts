import { constants } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { SnapshotName, VolumePath } from '../../../shared/volume-spec.ts'
import { close, openBeneath, openDirectory, reopen } from '../../native/paths.ts'
import { asFleetError, errorCodeOf } from '../../native/system-error.ts'

/**
 * Below `<pool>/volumes`, for a volume `a`, its snapshot `s` and a volume `a/b`:
 *
 *     a.raw          the image
 *     a@/s.raw       the snapshot
 *     a@/s+/<guid>   another name of the image of each clone of that snapshot
 *     a+/b.raw       what is below a
 *     .staged/<guid> what is being made or removed
 *
 * No name of a volume or snapshot holds `@` or `+`, so none is taken for another. Every name that a volume or snapshot has is on one
 * file system, and each comes by one link or rename.
 */
const VOLUMES = 'volumes'
export const STAGED = '.staged'
const IMAGE_SUFFIX = '.raw'
const CHILDREN_SUFFIX = '+'
const SNAPSHOTS_SUFFIX = '@'
const CLONES_SUFFIX = '+'
/** Guests' disks are nobody's to look at. */
const FOLDER_MODE = 0o700
export const READ_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY

export const imageOf = (volume: string) => `${below(volume)}${IMAGE_SUFFIX}`
/** The volume whose image is called so below `volumes`; undefined: none could be. */
export function volumeOf(image: string): string | undefined {
  const names = image.split('/').map((name, n, all) => {
    const entry = entryOf(name)
    return entry?.kind === (n === all.length - 1 ? 'image' : 'children') ? entry.name : undefined
  })
  return names.every((name) => name !== undefined) ? names.join('/') : undefined
}
export const childrenOf = (volume: string) => `${below(volume)}${CHILDREN_SUFFIX}`
export const snapshotsOf = (volume: string) => `${below(volume)}${SNAPSHOTS_SUFFIX}`
export const snapshotImageOf = (volume: string, snapshot: string) => `${snapshotsOf(volume)}/${snapshot}${IMAGE_SUFFIX}`
export const clonesOf = (volume: string, snapshot: string) => `${snapshotsOf(volume)}/${snapshot}${CLONES_SUFFIX}`

/** `a/b/c` is `a+/b+/c`. */
function below(volume: string): string {
  return volume.replaceAll('/', `${CHILDREN_SUFFIX}/`)
}

/** @returns undefined for one that lies in the pool itself */
export function parentOf(volume: string): string | undefined {
  const end = volume.lastIndexOf('/')
  return end < 0 ? undefined : volume.slice(0, end)
}

/** What an entry of a folder is, by its name; undefined: nothing of ours. */
export function entryOf(
  name: string,
): { readonly kind: 'image' | 'children' | 'snapshots'; readonly name: string } | undefined {
  for (const [suffix, kind] of SUFFIXES) {
    const own = name.slice(0, -suffix.length)
    if (name.endsWith(suffix) && SnapshotName.safeParse(own).success) return { kind, name: own }
  }
  return undefined
}
const SUFFIXES = [
  [IMAGE_SUFFIX, 'image'],
  [CHILDREN_SUFFIX, 'children'],
  [SNAPSHOTS_SUFFIX, 'snapshots'],
] as const

/** @throws invalid */
export function checkedPath(volume: string): string {
  if (VolumePath.safeParse(volume).success) return volume
  throw new FleetError('invalid', 'that is no path of a volume')
}

/** @throws invalid */
export function checkedSnapshot(snapshot: string): string {
  if (SnapshotName.safeParse(snapshot).success) return snapshot
  throw new FleetError('invalid', 'that is no name of a snapshot')
}

export interface VolumeTree {
  /** Absolute, of `volumes`. */
  readonly path: string
  /** Runs `use` with `volumes` open. Failures are FleetErrors. @param subject begins messages clients may read */
  within<Result>(subject: string, use: (rootFd: number) => Promise<Result>): Promise<Result>
}

/** Makes the folders where they are missing; never again later, when the pool's file system may be away. @param poolPath absolute */
export async function openVolumeTree(poolPath: string): Promise<VolumeTree> {
  const path = join(poolPath, VOLUMES)
  await mkdir(join(path, STAGED), { recursive: true, mode: FOLDER_MODE })
  return {
    path,

    async within(subject, use) {
      let rootFd: number | undefined
      try {
        rootFd = openForReading(path)
        return await use(rootFd)
      } catch (thrown) {
        throw asFleetError(thrown, subject)
      } finally {
        if (rootFd !== undefined) close(rootFd)
      }
    },
  }
}

function openForReading(path: string): number {
  const pathFd = openDirectory(path)
  try {
    return reopen(pathFd, READ_FOLDER)
  } finally {
    close(pathFd)
  }
}

/** Below `volumes`, following no link. @returns undefined when it is absent */
export function openIfAny(rootFd: number, path: string, flags: number): number | undefined {
  try {
    return openBeneath(rootFd, path, flags)
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
