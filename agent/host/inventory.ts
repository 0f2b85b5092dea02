import { createHash } from 'node:crypto'
import type { Logger } from '../../shared/logger.ts'
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

/** What a pool that does not answer by then told last is told again. */
const ANSWER_MS = 2_000
/** After this long without an answer there is no room in it. */
const AWAY_MS = 30_000

type Usage = Awaited<ReturnType<Driver['usage']>>

/**
 * What this host has, as of each call. A pool that is away or does not answer stays in it, without room: what is ordered there fails by itself,
 * and a host that fell silent for it would take all others with it.
 */
export function createInventory(facts: HostFacts, logger: Logger, answerMs = ANSWER_MS): () => Promise<Inventory> {
  const usages = new Map(
    [...facts.pools].map(([name, driver]) => [name, createUsage(driver, { name, logger, answerMs })]),
  )
  const { version, slots, restorePaths, sourcePaths, backupRoot, initiator } = facts
  return async () => {
    const pools = await Promise.all(
      [...facts.pools].map(async ([name, driver]) => ({
        name,
        driver: driver.name,
        capabilities: driver.capabilities,
        ...((await usages.get(name)?.()) ?? NO_ROOM),
      })),
    )
    return {
      ...{ version, slots, restorePaths: [...restorePaths], sourcePaths: [...sourcePaths], backupRoot, pools },
      ...(initiator === undefined ? {} : { initiator }),
    }
  }
}

const NO_ROOM: Usage = { sizeBytes: 0, freeBytes: 0 }

/** Never throws; one question at a time. */
function createUsage(
  driver: Driver,
  { name, logger, answerMs }: { readonly name: string; readonly logger: Logger; readonly answerMs: number },
): () => Promise<Usage> {
  let told = NO_ROOM
  let isAway = false
  let asking: Promise<void> | undefined
  let askedMs = 0

  async function ask(): Promise<void> {
    askedMs = performance.now()
    try {
      told = await driver.usage()
      if (isAway) logger.info({ event: 'pool.back', pool: name })
      isAway = false
    } catch (error) {
      told = { ...told, freeBytes: 0 }
      if (!isAway) logger.error({ event: 'pool.away', pool: name, error: String(error) })
      isAway = true
    } finally {
      asking = undefined
    }
  }

  return async () => {
    asking ??= ask()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, answerMs)
    })
    await Promise.race([asking, late])
    clearTimeout(timer)
    return asking !== undefined && performance.now() - askedMs > AWAY_MS ? { ...told, freeBytes: 0 } : told
  }
}

/** Equal for inventories that differ only in how full the pools are. */
export function inventoryHash(inventory: Inventory): string {
  const lasting = { ...inventory, pools: inventory.pools.map(({ freeBytes: _, ...pool }) => pool) }
  return createHash('sha256').update(JSON.stringify(lasting)).digest('hex').slice(0, 16)
}
