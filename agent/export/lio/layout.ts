import { createHash } from 'node:crypto'
import { join } from 'node:path'

/** Where the kernel's target has its configuration (target_core_mod, configfs mounted). */
export const TARGET_ROOT = '/sys/kernel/config/target'

/** Number of the folders of our backing stores: other tools count from 0. */
const STORES = 4803
export const STORE_PREFIX = 'holdfast-'

export type StoreKind = 'iblock' | 'fileio'
export const STORE_KINDS: readonly StoreKind[] = ['iblock', 'fileio']

/** What belongs to one wwn. */
export interface TargetPaths {
  readonly wwn: string
  /** Name of its backing store, by which the target is known as ours: it is made before the target, and goes after it. */
  readonly storeName: string
  readonly target: string
  readonly group: string
  readonly lun: string
}

export function targetPaths(root: string, wwn: string): TargetPaths {
  const target = join(root, 'iscsi', wwn)
  const group = join(target, 'tpgt_1')
  const hash = createHash('sha256').update(wwn).digest('hex').slice(0, 32)
  return { wwn, storeName: `${STORE_PREFIX}${hash}`, target, group, lun: join(group, 'lun', 'lun_0') }
}

export function storesPath(root: string, kind: StoreKind): string {
  return join(root, 'core', `${kind}_${STORES}`)
}

export function accessPath(paths: TargetPaths, initiator: string): string {
  return join(paths.group, 'acls', initiator)
}
