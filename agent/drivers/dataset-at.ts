import { constants } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { Id } from '../../shared/ids.ts'
import { openWithoutMounts } from '../native/detached-mounts.ts'
import { close, O_PATH, openBeneath, openDirectory, openWithoutLinks } from '../native/paths.ts'
import { Status } from '../native/status.ts'
import { errorCodeOf } from '../native/system-error.ts'
import type { Driver } from './driver.ts'

/** A directory of this host, as a place in a dataset. */
export interface PlaceInDataset {
  readonly pool: string
  readonly dataset: string
  /** Relative; '' is the dataset's root. */
  readonly inner: string
}

/**
 * @param path absolute, of a directory that is there
 * @returns undefined where it is in no dataset of these pools, or on a file system of its own that is mounted in one
 */
export async function findDatasetAt(
  path: string,
  pools: ReadonlyMap<string, Driver>,
): Promise<PlaceInDataset | undefined> {
  const segments = (await realpath(path)).split('/')
  for (const [index, dataset] of segments.entries()) {
    if (!Id.safeParse(dataset).success) continue
    const root = segments.slice(0, index + 1).join('/')
    const inner = segments.slice(index + 1).join('/')
    for (const [pool, driver] of pools) {
      if (driver.name !== 'sim' && (await isDataset(driver, { dataset, root })) && isBeneath(root, inner))
        return { pool, dataset, inner }
    }
  }
  return undefined
}

async function isDataset(driver: Driver, { dataset, root }: { dataset: string; root: string }): Promise<boolean> {
  const found = await driver.find(dataset)
  return found !== undefined && (await realpath(found.mountpoint)) === root
}

/** Whether no other file system lies between, which no snapshot of the dataset would hold. */
function isBeneath(root: string, inner: string): boolean {
  const rootFd = openDirectory(root)
  try {
    close(openBeneath(rootFd, inner === '' ? '.' : inner, constants.O_RDONLY | constants.O_DIRECTORY))
    return true
  } catch (error) {
    if (errorCodeOf(error) !== 'EXDEV') throw error
    return isMountedOnItself(rootFd, { root, inner })
  } finally {
    close(rootFd)
  }
}

/** Engines mount the folder of their layers once more where it is: it is the dataset's own all the same. */
function isMountedOnItself(
  rootFd: number,
  { root, inner }: { readonly root: string; readonly inner: string },
): boolean {
  const fds: number[] = []
  try {
    const bareFd = openWithoutMounts(rootFd)
    fds.push(bareFd, openBeneath(bareFd, inner, O_PATH), openWithoutLinks(`${root}/${inner}`, O_PATH))
    const [, beneath, seen] = fds.map(identityOf)
    return beneath === seen
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error
    return false
  } finally {
    for (const fd of fds) close(fd)
  }
}

function identityOf(fd: number): string {
  const status = new Status().readDescriptor(fd)
  return `${status.device} ${status.inode}`
}
