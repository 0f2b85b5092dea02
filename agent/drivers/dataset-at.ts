import { constants } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { Id } from '../../shared/ids.ts'
import { close, openBeneath, openDirectory } from '../native/paths.ts'
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

/** Whether no mount lies between, which no snapshot of the dataset would hold. */
function isBeneath(root: string, inner: string): boolean {
  const rootFd = openDirectory(root)
  try {
    close(openBeneath(rootFd, inner === '' ? '.' : inner, constants.O_RDONLY | constants.O_DIRECTORY))
    return true
  } catch (error) {
    if (errorCodeOf(error) === 'EXDEV') return false
    throw error
  } finally {
    close(rootFd)
  }
}
