import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { requireTool } from './processes.ts'
import type { Workbench } from './workbench.ts'

const IMAGE_BYTES = 8 * 1024 ** 3

/**
 * As `npm start` mounts its own (deploy/loop-image.ts). `ssd` because loop devices count as rotating disks, and there btrfs
 * makes an fsync from another thread than the last one's wait for a timer tick.
 */
const MOUNT_OPTIONS = 'loop,noatime,discard=async,ssd'

/** A btrfs of our own on a sparse loop image in the scratch directory. @returns where it is mounted. */
export function mountPool(workbench: Workbench, imageBytes = IMAGE_BYTES): string {
  const image = join(workbench.folder, 'pool.img')
  const path = join(workbench.folder, 'pool')
  const file = openSync(image, 'wx', 0o600)
  ftruncateSync(file, imageBytes)
  closeSync(file)
  mkdirSync(path)
  execFileSync(requireTool('mkfs.btrfs'), ['--quiet', image])
  execFileSync(requireTool('mount'), ['-t', 'btrfs', '-o', MOUNT_OPTIONS, image, path])
  workbench.defer(() => void execFileSync(requireTool('umount'), [path]))
  return path
}
