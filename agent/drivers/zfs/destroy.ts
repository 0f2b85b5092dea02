import { setTimeout as sleep } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import type { Zfs } from '../../zfs/zfs.ts'
import { sweepEach } from '../sweep-each.ts'
import { type Datasets, imageOf } from './datasets.ts'

/** Each round promotes one clone; every promotion takes at least one snapshot away. */
const MAX_ROUNDS = 10_000
/** Whoever just left a directory of it may hold it for a moment. */
const BUSY_TRIES = 4
const BUSY_WAIT_MS = 250

const COLUMNS = ['name', 'type', 'origin', 'clones'] as const

interface Place {
  readonly zfs: Zfs
  readonly datasets: Datasets
}

/**
 * Never recursive. Snapshots that its images rest on go to the newest of those (`zfs promote`), the others of ours are destroyed. Kept at
 * any instruction of it, all images are whole, and a repeat goes on.
 * @throws conflict (nested datasets, snapshots of somebody else), busy
 */
export async function destroyDataset(
  { zfs, datasets, dataset }: Place & { readonly dataset: string },
  signal: AbortSignal,
): Promise<void> {
  const name = datasets.name(dataset)
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const types = ['filesystem', 'volume', 'snapshot'] as const
    const rows = await zfs.list({ columns: COLUMNS, types, names: [name], depth: 1 }, signal)
    const own = rows.find((row) => row.name === name)
    if (own === undefined) return
    const blockers = rows.filter((row) => row !== own && (row.type !== 'snapshot' || imageOf(row.name) === undefined))
    if (blockers.length > 0) {
      const message = 'the dataset has snapshots or datasets of ZFS that Holdfast did not make'
      throw new FleetError('conflict', message, { blockers: blockers.map((row) => row.name) })
    }
    // The tool lists snapshots in the sequence of their making.
    const resting = rows.findLast((row) => row.type === 'snapshot' && row.clones !== '' && row.clones !== '-')
    if (resting === undefined) {
      const free = rows.filter((row) => row.type === 'snapshot').map((row) => row.name.slice(name.length + 1))
      // `a@x,y` is one call; it destroys nothing but these snapshots.
      if (free.length > 0) await zfs.call(['destroy', `${name}@${free.join(',')}`], signal)
      await destroyPatiently(zfs, name, signal)
      await destroyOrigin(zfs, { origin: own.origin, dataset }, signal)
      return
    }
    const [clone = ''] = resting.clones.split(',')
    await zfs.call(['promote', clone], signal)
  }
  throw new FleetError('internal', `dataset ${dataset} still has images resting on it`)
}

async function destroyPatiently(zfs: Zfs, name: string, signal: AbortSignal): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await zfs.call(['destroy', name], signal)
      return
    } catch (error) {
      if (!(error instanceof FleetError) || error.code === 'not_found') return
      if (error.code !== 'busy' || tries === BUSY_TRIES) throw error
      await sleep(BUSY_WAIT_MS)
    }
  }
}

/** The snapshot that was taken for an image goes with it, unless another one rests on it by now. */
async function destroyOrigin(
  zfs: Zfs,
  { origin, dataset }: { readonly origin: string; readonly dataset: string },
  signal: AbortSignal,
): Promise<void> {
  if (imageOf(origin) !== dataset) return
  await zfs.call(['destroy', origin], signal).catch((error) => {
    if (!(error instanceof FleetError) || !['conflict', 'not_found'].includes(error.code)) throw error
  })
}

/** Snapshots that were taken for images that are not there: interrupted calls left them. Only ours, and only with nothing on them. */
export async function sweepSnapshots({ zfs, datasets }: Place, signal: AbortSignal): Promise<void> {
  const request = { columns: COLUMNS, types: ['filesystem', 'snapshot'], names: [datasets.home], depth: 2 } as const
  const rows = await zfs.list(request, signal)
  const names = new Set(rows.map((row) => row.name))
  const left = rows.filter(({ name, type, clones }) => {
    const image = type === 'snapshot' ? imageOf(name) : undefined
    return image !== undefined && (clones === '' || clones === '-') && !names.has(`${datasets.home}/${image}`)
  })
  await sweepEach(left, async ({ name }) => {
    await zfs.call(['destroy', name], signal)
  })
}
