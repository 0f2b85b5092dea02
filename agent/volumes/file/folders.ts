import { FleetError } from '../../../shared/errors.ts'
import { cString } from '../../native/libc.ts'
import { close, makeDirectory, openBeneath } from '../../native/paths.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { openImage } from './images.ts'
import { childrenOf, imageOf, openIfAny, parentOf, READ_FOLDER } from './volume-tree.ts'
import { writeOut } from './write-out.ts'

const FOLDER_MODE = 0o700

/**
 * Opens the folder that holds a volume's image. One below a volume is made when it is missing; others only with `createParent`.
 * @throws not_found
 */
export async function openHome(rootFd: number, volume: string, createParent: boolean): Promise<number> {
  const parent = parentOf(volume)
  if (parent === undefined) return openBeneath(rootFd, '.', READ_FOLDER)
  const fd = openIfAny(rootFd, childrenOf(parent), READ_FOLDER)
  if (fd !== undefined) return fd
  if (!createParent && !isImage(rootFd, parent)) {
    throw new FleetError('not_found', `the parent of ${volume} is not there`)
  }
  return makeFolder(rootFd, childrenOf(parent))
}

function isImage(rootFd: number, volume: string): boolean {
  const fd = openImage(rootFd, imageOf(volume))
  if (fd !== undefined) close(fd)
  return fd !== undefined
}

/** Opens a folder below `volumes`, after it and what it lies in were made, durably, where they were missing. */
export async function makeFolder(rootFd: number, path: string): Promise<number> {
  let homeFd = openBeneath(rootFd, '.', READ_FOLDER)
  for (const name of path.split('/')) {
    try {
      if (madeHere(homeFd, name)) await writeOut({ rootFd, fds: [homeFd], holds: 'names' })
      const fd = openBeneath(homeFd, name, READ_FOLDER)
      close(homeFd)
      homeFd = fd
    } catch (error) {
      close(homeFd)
      throw error
    }
  }
  return homeFd
}

function madeHere(homeFd: number, name: string): boolean {
  try {
    makeDirectory(homeFd, cString(name), FOLDER_MODE)
    return true
  } catch (error) {
    if (errorCodeOf(error) === 'EEXIST') return false
    throw error
  }
}
