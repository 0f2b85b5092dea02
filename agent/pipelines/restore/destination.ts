import { constants, readFileSync, readlinkSync } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import type { DatasetPlace, RestoreSnapshotSpec } from '../../../shared/job-spec.ts'
import { cString } from '../../native/libc.ts'
import { close, O_PATH, openBeneath, openDirectory, openWithoutLinks } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { PipelineTools } from '../pipeline.ts'
import { requireFiles } from '../require-files.ts'
import { componentsOf, relativePath } from './inner-path.ts'

/** Where a restore goes: a name in an open directory. */
export interface RestoreDestination {
  /** Open for reading. */
  readonly parentFd: number
  /** NUL-terminated. */
  readonly name: Buffer
}

const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY

/** Opens where an order's destination lies. @throws not_found, refused, invalid */
export async function openDestination(
  destination: RestoreSnapshotSpec['destination'],
  tools: PipelineTools,
): Promise<RestoreDestination> {
  if (destination.kind === 'host') return openOnHost(destination.path, tools)
  return openInDataset(await rootOf(destination.place, tools), destination.path)
}

/** The absolute path of a dataset's root directory. @throws not_found, refused */
export async function rootOf(place: DatasetPlace, tools: PipelineTools): Promise<string> {
  const driver = tools.driver(place.pool)
  requireFiles(driver)
  const found = await driver.find(place.dataset)
  if (!found) throw new FleetError('not_found', `dataset ${place.dataset} is not on this host`)
  return found.mountpoint
}

/** @param root absolute path of the dataset's root directory */
export function openInDataset(root: string, path: string): RestoreDestination {
  const { parents, name } = splitPath(path)
  const rootFd = openDirectory(root)
  try {
    return { parentFd: openParent(rootFd, parents, path), name: cString(name) }
  } finally {
    close(rootFd)
  }
}

/**
 * On the host itself. The allowed directory is opened by its whole path without following a link, the rest beneath it without
 * crossing a mount; then the directory's real path is compared with what no restore may touch.
 * @throws refused
 */
export function openOnHost(path: string, tools: PipelineTools): RestoreDestination {
  const { parents, name } = splitPath(path)
  const wanted = `/${[...parents, ''].join('/')}`
  const prefix = tools.restorePaths.find((allowed) => wanted.startsWith(allowed))
  if (prefix === undefined) {
    throw new FleetError('refused', `Destination '${path}' is outside the directories this host allows restores to`)
  }
  const prefixFd = openWithoutLinks(prefix, O_PATH | constants.O_DIRECTORY)
  try {
    const below = wanted.slice(prefix.length).split('/').filter(Boolean)
    const parentFd = openParent(prefixFd, below, path)
    if (isForbidden(`${readlinkSync(`/proc/self/fd/${parentFd}`)}/${name}`, tools.forbiddenPaths)) {
      close(parentFd)
      throw new FleetError('refused', `Destination '${path}' is kept from restores by this host`)
    }
    return { parentFd, name: cString(name) }
  } finally {
    close(prefixFd)
  }
}

/** Below a forbidden directory, the directory itself, or a directory that holds it. */
export function isForbidden(realPath: string, forbiddenPaths: readonly string[]): boolean {
  const real = `${realPath.replace(/\/+/g, '/')}/`
  return forbiddenPaths.some((forbidden) => {
    const kept = `${forbidden.replace(/\/+$/, '')}/`
    return real.startsWith(kept) || kept.startsWith(real)
  })
}

function splitPath(path: string): { readonly parents: readonly string[]; readonly name: string } {
  const components = componentsOf(path, 'destination')
  const name = components.at(-1)
  if (name === undefined) {
    const message = 'Destination must not be the root of the dataset; restore to a path in it'
    throw new FleetError('invalid', message, { field: 'destination' })
  }
  return { parents: components.slice(0, -1), name }
}

function openParent(rootFd: number, parents: readonly string[], path: string): number {
  try {
    return openBeneath(rootFd, relativePath(parents), READ_DIRECTORY)
  } catch (cause) {
    const code = errorCodeOf(cause)
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new FleetError('not_found', `The parent directory of destination '${path}' does not exist`, {
        field: 'destination',
        cause,
      })
    }
    throw cause
  }
}

/**
 * What stands at the destination; undefined when nothing does.
 * @throws refused when it is a mount point, holds one, or is a subvolume
 */
export function lookAt({ parentFd, name }: RestoreDestination): Status | undefined {
  let fd: number
  try {
    fd = openBeneath(parentFd, name.subarray(0, -1), O_PATH | constants.O_NOFOLLOW)
  } catch (cause) {
    const code = errorCodeOf(cause)
    if (code === 'ENOENT') return undefined
    if (code === 'EXDEV') throw new FleetError('refused', 'Destination is a mount point', { cause })
    throw cause
  }
  try {
    const status = new Status().readDescriptor(fd)
    if (status.kind === 'directory') refuseBoundaries(fd, status, parentFd)
    return status
  } finally {
    close(fd)
  }
}

function refuseBoundaries(fd: number, status: Status, parentFd: number): void {
  if (status.device !== new Status().readDescriptor(parentFd).device) {
    throw new FleetError('refused', 'Destination is the root of a subvolume')
  }
  const prefix = `${readlinkSync(`/proc/self/fd/${fd}`)}/`
  const mountPoints = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
  // Blanks in mount points are octal escapes; one that differs only there is caught when the displaced tree is removed.
  if (mountPoints.some((mountPoint) => mountPoint.startsWith(prefix))) {
    throw new FleetError('refused', 'Destination holds a mount point')
  }
}
