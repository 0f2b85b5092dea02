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
const MOUNT_OPTIONS = 'noatime,discard=async,ssd'

const FILE_SYSTEMS = {
  btrfs: { maker: 'mkfs.btrfs', flags: ['--quiet'], options: MOUNT_OPTIONS },
  xfs: { maker: 'mkfs.xfs', flags: ['-q', '-m', 'reflink=1'], options: 'noatime' },
  ext4: { maker: 'mkfs.ext4', flags: ['-q', '-F'], options: 'noatime' },
} as const

/** A btrfs of our own on a sparse loop image in the scratch directory. @returns where it is mounted. */
export function mountPool(workbench: Workbench, imageBytes = IMAGE_BYTES): string {
  return mountFileSystem(workbench, { kind: 'btrfs', name: 'pool', imageBytes })
}

export function mountFileSystem(
  workbench: Workbench,
  wish: { readonly kind: keyof typeof FILE_SYSTEMS; readonly name: string; readonly imageBytes?: number },
): string {
  const { maker, flags, options } = FILE_SYSTEMS[wish.kind]
  const image = join(workbench.folder, `${wish.name}.img`)
  const path = join(workbench.folder, wish.name)
  const file = openSync(image, 'wx', 0o600)
  ftruncateSync(file, wish.imageBytes ?? IMAGE_BYTES)
  closeSync(file)
  mkdirSync(path)
  execFileSync(requireTool(maker), [...flags, image])
  const losetup = requireTool('losetup')
  const device = execFileSync(losetup, ['--find', '--show', image]).toString().trim()
  try {
    // Else each page is in memory twice, and what was read is no longer warm when its turn comes.
    execFileSync(losetup, ['--direct-io=on', device])
    execFileSync(requireTool('mount'), ['-t', wish.kind, '-o', options, device, path])
  } finally {
    // What is mounted keeps it until it is unmounted.
    execFileSync(losetup, ['--detach', device])
  }
  workbench.defer(() => void execFileSync(requireTool('umount'), [path]))
  return path
}
