import { constants, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { InstanceManifest } from '../../../shared/instance-spec.ts'
import { isHostSystem } from '../../instances/host-system.ts'
import type { InstanceConfig, MountChoice } from '../../instances/instances.ts'
import { readSmallFile } from '../../instances/small-file.ts'
import { libc } from '../../native/libc.ts'
import { close, openBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { checked, errorCodeOf } from '../../native/system-error.ts'
import { openRoot } from '../point/restore-new.ts'

/** Where the manifest is in a tree of an instance (shared/instance-spec.ts). */
export const MANIFEST_PATH = 'instance/instance.json'
const CONFIG_FOLDER = 'instance/config'
export const ROOTFS = 'rootfs'
export const MAX_MANIFEST_BYTES = 2 ** 20
const MAX_CONFIG_BYTES = 2 ** 20
const MAX_CONFIG_FILES = 16
/**
 * Roots hold set-user-id programs by right, and these may be anybody's: nobody but root passes to them. A container whose own root
 * is another user of the host must; its programs are of such users too.
 */
const ROOT_MODE = 0o700
const PASSED_MODE = 0o711
const MAPS_USERS = /^\s*lxc\.idmap\s*=/m
const MOUNT = /^mounts\/(0|[1-9]\d{0,3})$/
const READ_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY

/** What a tree says of the instance that it is of. */
export interface KeptInstance {
  readonly manifest: InstanceManifest
  readonly config: InstanceConfig
  /** What of it is mounted. */
  readonly mounts: readonly MountChoice[]
  /** Destinations of mounts that the tree has not, without those that borrow the host's system. */
  readonly leftOut: readonly string[]
}

/** Reads it where an instance is to be made on it, and closes the tree to others. */
export function openKept(mountpoint: string): KeptInstance {
  const fd = openRoot(mountpoint)
  try {
    const kept = readKept({ fd, mountpoint })
    const mapsUsers = MAPS_USERS.test(kept.config.files.config?.toString() ?? '')
    checked('fchmod', libc().fchmod(fd, mapsUsers ? PASSED_MODE : ROOT_MODE))
    return kept
  } finally {
    close(fd)
  }
}

/**
 * Follows no link: who wrote the tree may be anybody.
 * @param root the tree's: open, and where it is
 * @throws refused where it is none of an instance
 */
function readKept(root: { readonly fd: number; readonly mountpoint: string }): KeptInstance {
  const manifest = parseManifest(readBeneath(root.fd, MANIFEST_PATH, MAX_MANIFEST_BYTES))
  requireDirectory(root.fd, ROOTFS)
  const files: Record<string, Buffer> = {}
  for (const name of configFiles(root.fd)) {
    files[name] = readBeneath(root.fd, `${CONFIG_FOLDER}/${name}`, MAX_CONFIG_BYTES)
  }
  const { type, name, image } = manifest
  const mounts: MountChoice[] = []
  const leftOut: string[] = []
  for (const { destination, directory, readonly, source, kind } of manifest.mounts) {
    if (directory !== null) {
      requireMount(root.fd, directory)
      mounts.push({ destination, source: { path: join(root.mountpoint, directory) }, readonly })
    } else if (kind === 'bind' && isHostSystem({ source, readonly })) {
      mounts.push({ destination, source: { path: source }, readonly })
    } else {
      leftOut.push(destination)
    }
  }
  return { manifest, config: { type, name, files, image: image ?? undefined }, mounts, leftOut }
}

/** @throws refused */
export function parseManifest(bytes: Buffer): InstanceManifest {
  try {
    return InstanceManifest.parse(JSON.parse(bytes.toString()))
  } catch (cause) {
    throw new FleetError('refused', 'what it says of its instance cannot be read', { cause })
  }
}

function readBeneath(rootFd: number, path: string, maxBytes: number): Buffer {
  const fd = opened(rootFd, path, READ_FILE)
  try {
    return readSmallFile(`/proc/self/fd/${fd}`, maxBytes)
  } finally {
    close(fd)
  }
}

function configFiles(rootFd: number): readonly string[] {
  const fd = opened(rootFd, CONFIG_FOLDER, READ_DIRECTORY)
  try {
    const names = readdirSync(`/proc/self/fd/${fd}`)
    if (names.length > MAX_CONFIG_FILES) throw new FleetError('refused', 'the configuration has too many files')
    return names
  } finally {
    close(fd)
  }
}

function requireDirectory(rootFd: number, path: string): void {
  close(opened(rootFd, path, READ_DIRECTORY))
}

/** A directory, or a file that was bound by itself. */
function requireMount(rootFd: number, directory: string): void {
  if (!MOUNT.test(directory)) throw new FleetError('refused', 'a mount is kept where none is')
  const fd = opened(rootFd, directory, READ_FILE)
  try {
    const { kind } = new Status().readDescriptor(fd)
    if (kind !== 'directory' && kind !== 'file') throw new FleetError('refused', `'${directory}' can be no mount`)
  } finally {
    close(fd)
  }
}

function opened(rootFd: number, path: string, flags: number): number {
  try {
    return openBeneath(rootFd, path, flags)
  } catch (cause) {
    if (!['ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV', 'ENXIO'].includes(errorCodeOf(cause) ?? '')) throw cause
    throw new FleetError('refused', `it is no tree of an instance: '${path}' is missing`, { cause })
  }
}
