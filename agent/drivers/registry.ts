import { mkdir } from 'node:fs/promises'
import { FleetError } from '../../shared/errors.ts'
import type { DriverName } from '../../shared/wire/messages.ts'
import { isBtrfs } from '../native/file-system.ts'
import { cString } from '../native/libc.ts'
import { close, createFile, openDirectory, removeFile } from '../native/paths.ts'
import { reflink } from '../native/reflink.ts'
import { createBtrfsDriver } from './btrfs/btrfs-driver.ts'
import type { Driver } from './driver.ts'
import { openPoolLayout } from './pool-layout.ts'
import { createSimDriver } from './sim/sim-driver.ts'
import { createTreeDriver } from './tree/tree-driver.ts'
import { openZfsDriver } from './zfs/zfs-driver.ts'

export interface PoolConfig {
  readonly name: string
  /** Absolute; of `zfs` pools the name of a dataset of ZFS, like `tank/holdfast`; `sim` pools ignore it. */
  readonly path: string
  readonly driver: DriverName
  /** `sim` only: how long each mutating call takes. */
  readonly simDelayMs?: number
}

/** A new driver is one folder and one line here. */
const OPENERS: Readonly<Record<DriverName, (pool: PoolConfig) => Promise<Driver>>> = {
  async btrfs({ name, path }) {
    const layout = await openPoolLayout(path, `pool ${name}`)
    if (!onBtrfs(path)) throw new FleetError('invalid', `pool ${name} is not on btrfs`, { detail: path })
    return createBtrfsDriver(layout)
  },
  zfs: ({ path }) => openZfsDriver(path),
  async reflink({ name, path }) {
    const layout = await openPoolLayout(path, `pool ${name}`)
    if (!sharesBlocks(path)) throw new FleetError('invalid', `pool ${name} cannot share blocks`, { detail: path })
    return createTreeDriver(layout, { name: 'reflink', mode: 'share' })
  },
  async copy({ name, path }) {
    return createTreeDriver(await openPoolLayout(path, `pool ${name}`), { name: 'copy', mode: 'copy' })
  },
  async sim({ simDelayMs }) {
    return createSimDriver(simDelayMs === undefined ? {} : { delayMs: simDelayMs })
  },
}

/** Opens a pool, making its directories where they are missing. @throws invalid when the path cannot carry the driver */
export function openDriver(pool: PoolConfig): Promise<Driver> {
  return OPENERS[pool.driver](pool)
}

/** The best driver a directory can carry, found by trying. */
export async function detectDriver(path: string): Promise<DriverName> {
  await mkdir(path, { recursive: true })
  if (onBtrfs(path)) return 'btrfs'
  return sharesBlocks(path) ? 'reflink' : 'copy'
}

function onBtrfs(path: string): boolean {
  const fd = openDirectory(path)
  try {
    return isBtrfs(fd)
  } finally {
    close(fd)
  }
}

/** Whether one file can share another's blocks: the file system's name does not tell (XFS may be made without). */
function sharesBlocks(path: string): boolean {
  const directoryFd = openDirectory(path)
  const names = ['a', 'b'].map((letter) => cString(`.holdfast-probe-${process.pid}-${letter}`))
  const fds: number[] = []
  try {
    for (const name of names) fds.push(createFile(directoryFd, name, 0o600))
    const [sourceFd = -1, targetFd = -1] = fds
    return reflink(sourceFd, targetFd)
  } finally {
    for (const fd of fds) close(fd)
    for (const name of names) removeFile(directoryFd, name)
    close(directoryFd)
  }
}
