import { FleetError } from '../../shared/errors.ts'
import { SnapshotName, VolumePath } from '../../shared/volume-spec.ts'

/** ZFS_MAX_DATASET_NAME_LEN with its end, include/sys/fs/zfs.h. */
const MAX_NAME_LENGTH = 255
/** A pool's own name begins with a letter; components as in module/zcommon/zfs_namecheck.c, without blanks. */
const ROOT_NAME = /^[A-Za-z][A-Za-z0-9._:-]*(\/[A-Za-z0-9][A-Za-z0-9._:-]*)*$/

/** @param name of a dataset of ZFS, like `tank` or `tank/holdfast` @throws invalid */
export function checkedRoot(name: string): string {
  if (!ROOT_NAME.test(name) || name.length > MAX_NAME_LENGTH) {
    throw new FleetError('invalid', `a zfs pool's path is the name of a dataset, like 'tank' or 'tank/volumes'`, {
      detail: name,
    })
  }
  return name
}

/** Below a pool's root: what its datasets are the children of. No volume is made there. */
export const DATASETS_HOME = 'datasets'

/** @returns the full name of a volume that is to be made @throws invalid */
export function newNameBelow(root: string, path: string): string {
  if (path === DATASETS_HOME || path.startsWith(`${DATASETS_HOME}/`)) {
    throw new FleetError('invalid', `'${DATASETS_HOME}' is where a pool's datasets are`)
  }
  return nameBelow(root, path)
}

/** @returns the full name of what lies below `root` @throws invalid */
export function nameBelow(root: string, path: string, snapshot?: string): string {
  const isGood =
    VolumePath.safeParse(path).success && (snapshot === undefined || SnapshotName.safeParse(snapshot).success)
  const name = snapshot === undefined ? `${root}/${path}` : `${root}/${path}@${snapshot}`
  if (!isGood || name.length > MAX_NAME_LENGTH) throw new FleetError('invalid', 'no name for ZFS', { detail: name })
  return name
}

/** Below `root`; what is not there has its full name. */
export function pathBelow(root: string, name: string): string {
  return name.startsWith(`${root}/`) ? name.slice(root.length + 1) : name
}

export function poolOf(name: string): string {
  return name.split('/', 1)[0] ?? name
}

/** Between `root` and `name`, the highest first: what must be there before `name` can be made. */
export function parentsOf(root: string, name: string): readonly string[] {
  const parts = name.slice(root.length + 1).split('/')
  return parts.slice(0, -1).map((_, index) => `${root}/${parts.slice(0, index + 1).join('/')}`)
}
