import { FleetError } from '../../../shared/errors.ts'
import { type Run, run } from '../../exec/run.ts'
import { poolOf } from '../../zfs/names.ts'
import { inTurn } from '../../zfs/turns.ts'
import { openZfs } from '../../zfs/zfs.ts'
import type { DatasetInfo, Driver } from '../driver.ts'
import { datasetNotFound, throwIfCancelled } from '../pool-layout.ts'
import { changesBetween } from './changes.ts'
import { openDatasets, ownSnapshot } from './datasets.ts'
import { destroyDataset, sweepSnapshots } from './destroy.ts'

/** Whether an image may be written to: an image that may be is no base of a list of changes. */
export const IMAGE = 'holdfast:image'

/**
 * Datasets are file systems of ZFS below `<root>/datasets`, images are clones of a snapshot that is named after the image. A clone and
 * what it came from can each be destroyed before the other: what rests on a dataset is promoted first.
 * @param root the name of a file system of ZFS, like `tank` or `tank/holdfast` @throws invalid, unavailable
 */
export async function openZfsDriver(root: string, exec: Run = run): Promise<Driver> {
  const zfs = openZfs(exec)
  const datasets = await openDatasets(zfs, root)
  const pool = poolOf(root)

  async function found(dataset: string, signal: AbortSignal): Promise<DatasetInfo> {
    const there = await datasets.find(dataset, signal)
    if (there === undefined) throw new FleetError('internal', `dataset ${dataset} vanished after it was made`)
    return there
  }

  /** Its own row, and the names of what lies nested in it. */
  async function requireWhole(source: string, signal: AbortSignal): Promise<string> {
    const name = datasets.name(source)
    const rows = await zfs.list({ columns: ['name'], types: ['filesystem', 'volume'], names: [name], depth: 1 }, signal)
    if (rows.length === 0) throw datasetNotFound(source)
    if (rows.length > 1) {
      const message = 'the dataset holds nested datasets of ZFS, which a snapshot would leave out'
      throw new FleetError('conflict', message, { blockers: rows.slice(1).map((row) => row.name) })
    }
    return name
  }

  return {
    name: 'zfs',
    capabilities: { cow: true, atomic: true, enforcesReadonly: true },
    directory: datasets.mountpoint,

    async create(dataset, { signal }) {
      throwIfCancelled(signal)
      return inTurn(pool, async () => {
        const there = await datasets.find(dataset, signal)
        if (there !== undefined) return there
        await zfs.call(['create', datasets.name(dataset)], signal)
        return found(dataset, signal)
      })
    },

    async snapshot({ source, target, readonly }, { signal }) {
      throwIfCancelled(signal)
      return inTurn(pool, async () => {
        const there = await datasets.find(target, signal)
        if (there !== undefined) return { ...there, atomic: true, cow: true }
        const snapshot = `${await requireWhole(source, signal)}@${ownSnapshot(target)}`
        await zfs.call(['snapshot', snapshot], signal).catch(async (error) => {
          if (!(error instanceof FleetError) || error.code !== 'exists') throw error
          await zfs.call(['destroy', snapshot], signal) // an interrupted call's, of another instant
          await zfs.call(['snapshot', snapshot], signal)
        })
        const options = [`readonly=${readonly ? 'on' : 'off'}`, `${IMAGE}=${readonly ? 'readonly' : 'writable'}`]
        const name = datasets.name(target)
        await zfs.call(['clone', ...options.flatMap((option) => ['-o', option]), snapshot, name], signal)
        return { ...(await found(target, signal)), atomic: true, cow: true }
      })
    },

    async destroy(dataset, { signal }) {
      throwIfCancelled(signal)
      return inTurn(pool, () => destroyDataset({ zfs, datasets, dataset }, signal))
    },

    async changes({ base, image }, { signal }) {
      throwIfCancelled(signal)
      return changesBetween({ zfs, exec, datasets, base, image }, signal)
    },

    find: (dataset) => datasets.find(dataset, new AbortController().signal),

    async usage() {
      const request = { columns: ['used', 'available'], types: ['filesystem'], names: [root], depth: 0 } as const
      const [row] = await zfs.list(request, new AbortController().signal)
      if (row === undefined) throw new FleetError('unavailable', 'the dataset of ZFS that the pool names is not there')
      return { sizeBytes: Number(row.used) + Number(row.available), freeBytes: Number(row.available) }
    },

    sweep: () => inTurn(pool, () => sweepSnapshots({ zfs, datasets }, new AbortController().signal)),
  }
}
