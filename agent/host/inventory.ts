import { createHash } from 'node:crypto'
import type { Inventory } from '../../shared/wire/messages.ts'
import type { Driver } from '../drivers/driver.ts'

export interface HostFacts {
  readonly version: string
  readonly slots: number
  readonly restorePaths: readonly string[]
  readonly sourcePaths: readonly string[]
  readonly backupRoot: string
  readonly pools: ReadonlyMap<string, Driver>
  /** As whom it logs in to LUNs of other services; undefined where it cannot. */
  readonly initiator: string | undefined
}

/** What this host has, as of now. */
export async function takeInventory(facts: HostFacts): Promise<Inventory> {
  const pools = await Promise.all(
    [...facts.pools].map(async ([name, driver]) => ({
      name,
      driver: driver.name,
      capabilities: driver.capabilities,
      ...(await driver.usage()),
    })),
  )
  const { version, slots, restorePaths, sourcePaths, backupRoot, initiator } = facts
  return {
    ...{ version, slots, restorePaths: [...restorePaths], sourcePaths: [...sourcePaths], backupRoot, pools },
    ...(initiator === undefined ? {} : { initiator }),
  }
}

/** Equal for inventories that differ only in how full the pools are. */
export function inventoryHash(inventory: Inventory): string {
  const lasting = { ...inventory, pools: inventory.pools.map(({ freeBytes: _, ...pool }) => pool) }
  return createHash('sha256').update(JSON.stringify(lasting)).digest('hex').slice(0, 16)
}
