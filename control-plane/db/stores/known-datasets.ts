import type { LockedDataset, Order } from '../../core/orders.ts'

const MAX_KNOWN = 10_000

/**
 * Datasets as this replica last read them under a lock. An order may be decided on them without a read, if what is written
 * then holds only while their versions still stand: knowledge may be stale, never wrong.
 */
export interface KnownDatasets {
  /** All that `order` names, and their origins; undefined unless every one is known and at rest. */
  recall(order: Order): readonly LockedDataset[] | undefined
  remember(datasets: readonly LockedDataset[]): void
  forget(datasets: readonly LockedDataset[]): void
}

export function createKnownDatasets(): KnownDatasets {
  const byName = new Map<string, LockedDataset>()
  const byId = new Map<string, LockedDataset>()

  function forget(dataset: LockedDataset): void {
    byId.delete(dataset.id)
    byName.delete(nameKey(dataset.groupId, dataset.name))
  }

  return {
    recall(order) {
      const recalled = new Map<string, LockedDataset>()
      for (const name of order.names) {
        const dataset = byName.get(nameKey(order.groupId, name))
        if (dataset === undefined) return undefined
        recalled.set(dataset.id, dataset)
        if (dataset.origin?.name == null) continue
        const origin = byId.get(dataset.origin.id)
        if (origin === undefined) return undefined
        recalled.set(origin.id, origin)
      }
      return [...recalled.values()]
    },

    remember(datasets) {
      for (const dataset of datasets) {
        if (dataset.state !== 'available') {
          forget(dataset)
          continue
        }
        if (byId.size >= MAX_KNOWN) {
          byId.clear()
          byName.clear()
        }
        byId.set(dataset.id, dataset)
        byName.set(nameKey(dataset.groupId, dataset.name), dataset)
      }
    },

    forget(datasets) {
      for (const dataset of datasets) forget(dataset)
    },
  }
}

/** No name of a dataset holds a blank. */
function nameKey(groupId: string, name: string): string {
  return `${groupId} ${name}`
}
