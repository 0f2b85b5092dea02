import { setTimeout as pause } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import type { DatasetInfo, Driver, Watch } from '../driver.ts'
import { datasetNotFound } from '../pool-layout.ts'

const SIZE_BYTES = 2 ** 40
const FIRST_INODE = 256

export interface SimOptions {
  /** How long each mutating call takes. */
  readonly delayMs?: number
}

/** A pool in memory, for fleets of thousands of agents on one machine. It holds no files and forgets all when it ends. */
export function createSimDriver({ delayMs = 0 }: SimOptions = {}): Driver {
  const datasets = new Map<string, DatasetInfo>()
  let nextInode = FIRST_INODE

  async function work({ signal }: Watch): Promise<void> {
    if (delayMs > 0) await pause(delayMs, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  }

  function made(dataset: string): DatasetInfo {
    const info = datasets.get(dataset) ?? { rootInode: nextInode++, mountpoint: `/sim/${dataset}` }
    datasets.set(dataset, info)
    return info
  }

  return {
    name: 'sim',
    capabilities: { cow: true, atomic: true, enforcesReadonly: true },

    async create(dataset, watch) {
      await work(watch)
      return made(dataset)
    },

    async snapshot({ source, target }, watch) {
      await work(watch)
      if (!datasets.has(target) && !datasets.has(source)) throw datasetNotFound(source)
      return { ...made(target), atomic: true, cow: true }
    },

    async destroy(dataset, watch) {
      await work(watch)
      datasets.delete(dataset)
    },

    find: async (dataset) => datasets.get(dataset),
    usage: async () => ({ sizeBytes: SIZE_BYTES, freeBytes: SIZE_BYTES }),
    sweep: async () => undefined,
  }
}
