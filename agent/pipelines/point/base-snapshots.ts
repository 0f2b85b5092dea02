import type { VolumePlace } from '../../../shared/volume-spec.ts'
import type { ChangeList, Watch } from '../../drivers/driver.ts'
import { sweepEach } from '../../drivers/sweep-each.ts'
import type { OwnDataset } from '../../points/own-datasets.ts'
import { destroyOwn } from '../../points/own-places.ts'
import type { PipelineTools } from '../pipeline.ts'
import { dropListingOf, dropListings } from './unchanged.ts'

/** The snapshot that the newest point of a series was made of is named by that point and kept until there is a newer one. */
export interface Snapshotted {
  readonly pool: string
  /** The dataset that is backed up, or what a volume is told by. */
  readonly source: string
  /** Of a capture. */
  readonly volume?: string
  /** Target and directory. */
  readonly series: string
  readonly pointId: string
}

type BaseTools = Pick<PipelineTools, 'points' | 'driver' | 'volumes'>

/** What is kept of a volume is kept under this. */
export function sourceOf({ pool, volume }: VolumePlace): string {
  return `volume:${pool}/${volume}`
}

/** Whether a pool can tell what differs between two of its snapshots: only then is one kept. */
export function keepsBases(tools: PipelineTools, pool: string): boolean {
  return tools.driver(pool).changes !== undefined
}

/** Whether clones of large files are kept of a pool, for what changes in them: where blocks are shared and nobody tells changes. */
export function keepsLarge(tools: PipelineTools, pool: string): boolean {
  return tools.driver(pool).name === 'reflink'
}

/** Durable when it returns: the older one may go. */
export function keepBase(tools: PipelineTools, { pool, source, volume, series, pointId }: Snapshotted): void {
  const { own } = tools.points
  const use = { kind: 'base', source, series, at: Date.now() } as const
  for (const older of own.basesOf(source)) {
    const isLate = older.use.kind === 'base' && older.use.series === series && older.use.at >= use.at
    // The clock was ahead when that was kept.
    if (isLate && older.dataset !== pointId) own.claim({ ...older, use: { ...use, at: use.at - 1 } })
  }
  own.claim({ pool, dataset: pointId, use, ...(volume !== undefined && { volume }) })
}

/**
 * Nobody waits for it: btrfs may take a second to forget a snapshot for good. Meanwhile it lets nobody else into the directory of its
 * datasets, so that what a job still looks for there comes before.
 */
export function dropSuperseded(tools: PipelineTools): void {
  const { own, later } = tools.points
  const superseded = own.superseded()
  if (superseded.length > 0) later(() => destroyAll(tools, superseded))
}

/** What is kept of the same series for other points. */
export async function dropOlderBases(tools: PipelineTools, { source, series, pointId }: Snapshotted): Promise<void> {
  const kept = tools.points.own.basesOf(source).filter(({ dataset }) => dataset !== pointId)
  await destroyAll(
    tools,
    kept.filter(({ use }) => use.kind === 'base' && use.series === series),
  )
}

/** All that is kept of a dataset or volume. */
export async function dropBases(tools: PipelineTools, source: string): Promise<void> {
  dropListings(tools, source)
  await destroyAll(tools, tools.points.own.basesOf(source))
}

/** What is kept for one point, which is no more. */
export async function dropBaseOf(tools: BaseTools, pointId: string): Promise<void> {
  const kept = tools.points.own.all().filter(({ dataset, use }) => dataset === pointId && use.kind === 'base')
  dropListingOf(tools, pointId)
  await destroyAll(tools, kept)
}

/** What changed since the snapshot of the point that is to be completed; undefined where that is not known. */
export async function changesSince(
  tools: PipelineTools,
  { pool, base, pointId }: { readonly pool: string; readonly base: string | undefined; readonly pointId: string },
  watch: Watch,
): Promise<ChangeList | undefined> {
  if (base === undefined || !tools.points.own.has(base, 'base')) return undefined
  return tools.driver(pool).changes?.({ base, image: pointId }, watch)
}

function destroyAll(tools: BaseTools, owned: readonly OwnDataset[]): Promise<void> {
  return sweepEach(owned, async (one) => {
    await destroyOwn(one, tools)
    tools.points.own.forget(one.dataset)
  })
}
