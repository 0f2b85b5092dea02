import { FleetError } from '../../../shared/errors.ts'
import { RENAME_EXCHANGE, RENAME_NOREPLACE, removeDirectory, rename } from '../../native/paths.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { lookAt, type RestoreDestination } from './destination.ts'

/** Something else may come to stand at the destination between the look and the rename; then it is looked at again. */
const MAX_LOOKS = 10
const CHANGED_MEANWHILE = new Set(['EEXIST', 'ENOENT', 'EISDIR', 'ENOTDIR', 'ENOTEMPTY'])

interface Replacement {
  readonly destination: RestoreDestination
  /** NUL-terminated, in the same directory. */
  readonly stagedName: Buffer
  readonly stagedType: 'file' | 'directory'
  /** Undefined: a file or an empty directory may be replaced. */
  readonly overwrite: boolean | undefined
}

/**
 * Puts the staged object at the destination by one atomic rename. What it displaces stands at the staged name afterwards.
 * @throws exists, conflict (a directory with content), refused (a mount point), busy; then nothing has changed
 */
export function replace(replacement: Replacement): void {
  for (let look = 1; ; look += 1) {
    try {
      replaceOnce(replacement)
      return
    } catch (error) {
      if (look === MAX_LOOKS || !CHANGED_MEANWHILE.has(errorCodeOf(error) ?? '')) throw error
    }
  }
}

function replaceOnce({ destination, stagedName, stagedType, overwrite }: Replacement): void {
  const { parentFd, name } = destination
  const existing = lookAt(destination)
  if (existing !== undefined && overwrite === false) throw alreadyExists()
  if (existing === undefined) rename(parentFd, stagedName, name, RENAME_NOREPLACE)
  else if (existing.kind === 'directory' && overwrite === true) rename(parentFd, stagedName, name, RENAME_EXCHANGE)
  else if (existing.kind === 'directory') replaceEmpty(destination, stagedName, stagedType)
  else rename(parentFd, stagedName, name, stagedType === 'file' ? 0 : RENAME_EXCHANGE)
}

/** The kernel itself refuses to remove or rename over a directory with content, so nothing can slip in. */
function replaceEmpty(destination: RestoreDestination, stagedName: Buffer, stagedType: 'file' | 'directory'): void {
  try {
    if (stagedType === 'file') replaceEmptyByFile(destination, stagedName)
    else rename(destination.parentFd, stagedName, destination.name, 0)
  } catch (error) {
    throw ['ENOTEMPTY', 'EEXIST'].includes(errorCodeOf(error) ?? '') ? notEmpty() : error
  }
}

function replaceEmptyByFile({ parentFd, name }: RestoreDestination, stagedName: Buffer): void {
  rename(parentFd, stagedName, name, RENAME_EXCHANGE)
  try {
    removeDirectory(parentFd, stagedName)
  } catch (error) {
    rename(parentFd, stagedName, name, RENAME_EXCHANGE)
    throw error
  }
}

/** The same rules before any work is done. A race is settled by `replace`. */
export function assertReplaceable(request: {
  readonly destination: RestoreDestination
  readonly overwrite: boolean | undefined
  readonly isEmpty: () => boolean
}): void {
  const existing = lookAt(request.destination)
  if (existing === undefined || request.overwrite === true) return
  if (request.overwrite === false) throw alreadyExists()
  if (existing.kind === 'directory' && !request.isEmpty()) throw notEmpty()
}

function alreadyExists(): FleetError {
  return new FleetError('exists', 'Destination exists already and overwrite is false')
}

function notEmpty(): FleetError {
  return new FleetError('conflict', 'Destination is a directory with content; replacing it needs overwrite: true')
}
