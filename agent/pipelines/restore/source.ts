import { constants } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import { close, O_PATH, openBeneath, openDirectory, reopen } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { componentsOf, relativePath } from './inner-path.ts'

/** A file or directory of a snapshot, open for reading. */
export interface RestoreSource {
  readonly fd: number
  readonly status: Status
  readonly type: 'file' | 'directory'
}

/**
 * @param root absolute path of the snapshot's root directory
 * @throws not_found; invalid (a link or special file); refused (a link or mount point on the way)
 */
export function openSource(root: string, path: string): RestoreSource {
  const components = componentsOf(path, 'source')
  const rootFd = openDirectory(root)
  try {
    return openBelow(rootFd, relativePath(components))
  } catch (error) {
    const code = errorCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new FleetError('not_found', `Source path '${path}' not found in snapshot`, {
        field: 'source',
        cause: error,
      })
    }
    throw error
  } finally {
    close(rootFd)
  }
}

function openBelow(rootFd: number, path: string): RestoreSource {
  // Looked at before it is opened for reading: opening a fifo or a device is an act of its own.
  const pathFd = openBeneath(rootFd, path, O_PATH | constants.O_NOFOLLOW)
  try {
    const status = new Status().readDescriptor(pathFd)
    const type = status.kind
    if (type !== 'file' && type !== 'directory') {
      throw new FleetError('invalid', 'Source path must be a file or directory', { field: 'source' })
    }
    return { fd: reopen(pathFd, constants.O_RDONLY), status, type }
  } finally {
    close(pathFd)
  }
}
