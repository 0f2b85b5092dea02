import { setTimeout as delay } from 'node:timers/promises'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import { SYSTEM_CALLER } from './caller.ts'
import { type DatasetReader, orderNewDataset, ROOT_DATASET } from './datasets.ts'
import { choosePool, type FleetView } from './fleet-view.ts'
import type { OrderBook } from './orders.ts'

/** Whoever asks first waits for it as long as for any order of its own. */
const WAIT_MS = 4_000
const POLL_MS = 20
/** While no pool is online, nobody waits for another try. */
const RETRY_MS = 2_000

/** The dataset `root` of each group: there from the group's first use on, as soon as a host is. */
export interface Roots {
  /** Orders the group's root unless it is there or on its way. @returns whether it is available. @throws unavailable when no pool is online yet. */
  ensure(groupId: string): Promise<boolean>
  /** Makes it and waits for it, within bounds; never throws, because what is asked may not need it. */
  ready(groupId: string): Promise<void>
  /** A host went with what it held: every group's root is looked for again. */
  forget(): void
}

export function createRoots(deps: {
  readonly orders: OrderBook
  readonly reader: DatasetReader
  readonly fleet: FleetView
  readonly now?: () => number
}): Roots {
  const { orders, reader, fleet, now = Date.now } = deps
  const rooted = new Set<string>()
  const making = new Map<string, Promise<void>>()
  const failedAtMs = new Map<string, number>()

  async function isThere(groupId: string): Promise<boolean> {
    return (await reader.find(groupId, ROOT_DATASET)) !== undefined
  }

  async function ensure(groupId: string): Promise<boolean> {
    if (await isThere(groupId)) return true
    const pool = choosePool(fleet, {})
    const order = orders.place({
      groupId,
      by: { ...SYSTEM_CALLER, groupId },
      names: [],
      decide: () => {
        const made = orderNewDataset({ request: { name: ROOT_DATASET }, pool, name: ROOT_DATASET, tags: {} })
        return { ...made, create: { ...made.create, ordinal: 0 }, interactive: false }
      },
    })
    // `exists`: it is being made, by us or by another replica.
    await order.catch((error: unknown) => {
      if (!(error instanceof FleetError && error.code === 'exists')) throw error
    })
    return false
  }

  async function make(groupId: string): Promise<void> {
    const deadlineMs = now() + WAIT_MS
    try {
      let isReady = await ensure(groupId)
      while (!isReady && now() < deadlineMs) {
        await delay(POLL_MS)
        isReady = await isThere(groupId)
      }
      if (isReady) rooted.add(groupId)
      else failedAtMs.set(groupId, now())
    } catch (error) {
      if (toFleetError(error).code === 'internal') throw error
      failedAtMs.set(groupId, now())
    } finally {
      making.delete(groupId)
    }
  }

  return {
    ensure,
    forget: () => rooted.clear(),
    async ready(groupId) {
      if (rooted.has(groupId)) return
      if (now() - (failedAtMs.get(groupId) ?? 0) < RETRY_MS) return
      const made = making.get(groupId) ?? make(groupId)
      making.set(groupId, made)
      await made
      if (rooted.has(groupId)) failedAtMs.delete(groupId)
    },
  }
}
