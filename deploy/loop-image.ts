import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statfsSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE } from './atomic-file.ts'
import { StartError } from './start-error.ts'
import { findTool, runTool } from './tools.ts'

const MAX_IMAGE_BYTES = 64 * 1024 ** 3
const MIN_IMAGE_BYTES = 512 * 1024 ** 2
const SHARE_OF_FREE_SPACE = 0.8
const UNMOUNT_TIMEOUT_MS = 2_000
/**
 * `ssd`: a loop device calls itself rotational, and btrfs then lets every fsync wait a tick or two for company
 * (docs/decisions/0003-syscalls-in-process.md). `nodev`: what tenants restore may hold device nodes, which nobody is to open here.
 */
const MOUNT_OPTIONS = 'loop,noatime,nodev,ssd,discard=async'

/** The size a new image is given, in bytes: it is sparse, so this is what it may grow to. */
export function imageSize(freeBytes: number): number {
  return Math.floor(Math.min(MAX_IMAGE_BYTES, freeBytes * SHARE_OF_FREE_SPACE))
}

/**
 * Mounts the btrfs image at `path`, making it first when there is none. A mount that an earlier run left is used as it is.
 * The loop device is one that frees itself with the last unmount, so a crash leaks none.
 */
export async function mountLoopImage(image: string, path: string): Promise<void> {
  mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  const mounted = mountedDevice(path)
  if (mounted && backingFile(mounted) === image && existsSync(image)) return
  if (mounted) await unmount(path)
  await detachAll(image)
  if (!existsSync(image)) await makeImage(image)
  await runTool(tool('mount'), ['-t', 'btrfs', '-o', MOUNT_OPTIONS, image, path])
  await useDirectIo(mountedDevice(path))
}

/** Tolerates what is not mounted. A mount that is in use vanishes at once and its device follows its last user. */
export async function unmountLoopImage(image: string, path: string): Promise<void> {
  if (mountedDevice(path)) await unmount(path)
  await detachAll(image)
}

async function unmount(path: string): Promise<void> {
  const umount = tool('umount')
  try {
    await runTool(umount, [path], { timeoutMs: UNMOUNT_TIMEOUT_MS })
  } catch {
    if (mountedDevice(path)) await runTool(umount, ['--lazy', path], { timeoutMs: UNMOUNT_TIMEOUT_MS })
  }
}

async function makeImage(image: string): Promise<void> {
  const { bavail, bsize } = statfsSync(dirname(image))
  const sizeBytes = imageSize(bavail * bsize)
  if (sizeBytes < MIN_IMAGE_BYTES)
    throw new StartError(`too little space for a pool in ${dirname(image)}: 640 MiB are needed`)
  const partial = `${image}.partial`
  const file = openSync(partial, 'w', PRIVATE_FILE_MODE)
  ftruncateSync(file, sizeBytes)
  closeSync(file)
  await runTool(tool('mkfs.btrfs'), ['--quiet', partial])
  renameSync(partial, image)
}

/** Without it every block is cached twice; a file system that cannot do it is served without. */
async function useDirectIo(device: string | undefined): Promise<void> {
  if (!device) return
  await runTool(tool('losetup'), ['--direct-io=on', device]).catch(() => undefined)
}

async function detachAll(image: string): Promise<void> {
  if (!existsSync(image)) return
  const losetup = tool('losetup')
  const listed = await runTool(losetup, ['--noheadings', '--output', 'NAME', '--associated', image])
  for (const device of listed.split('\n').filter(Boolean)) await runTool(losetup, ['--detach', device])
}

/** The device mounted last at `path`; mountinfo's fields are in proc(5), with blanks in paths as `\040`. */
function mountedDevice(path: string): string | undefined {
  const escaped = path.replaceAll(
    /[\\ \t\n]/g,
    (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
  )
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const line = lines.findLast((candidate) => candidate.split(' ')[4] === escaped)
  return line?.split(' - ')[1]?.split(' ')[1]
}

function backingFile(device: string): string | undefined {
  const attribute = `/sys/block/${basename(device)}/loop/backing_file`
  return existsSync(attribute) ? readFileSync(attribute, 'utf8').trim() : undefined
}

function tool(name: string): string {
  const path = findTool(name)
  if (!path) throw new Error(`${name} is not installed`)
  return path
}
