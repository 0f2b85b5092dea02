import type { DriverName } from '../../shared/wire/messages.ts'
import type { PoolConfig } from '../drivers/registry.ts'
import { createFileVolumes } from './file/file-volumes.ts'
import { createSimVolumes } from './sim/sim-volumes.ts'
import type { Volumes } from './volumes.ts'

/** A new technology is one folder and one line here. Each pool was opened by its driver before. */
const OPENERS: Readonly<Record<DriverName, (pool: PoolConfig) => Promise<Volumes>>> = {
  btrfs: ({ path }) => createFileVolumes(path, 'share'),
  zfs: async ({ path }) => (await import('./zfs/zfs-volumes.ts')).openZfsVolumes(path),
  reflink: ({ path }) => createFileVolumes(path, 'share'),
  copy: ({ path }) => createFileVolumes(path, 'copy'),
  sim: async ({ simDelayMs }) => createSimVolumes(simDelayMs === undefined ? {} : { delayMs: simDelayMs }),
}

/** The volumes of a pool. Makes its folders where they are missing. */
export function openVolumes(pool: PoolConfig): Promise<Volumes> {
  return OPENERS[pool.driver](pool)
}
