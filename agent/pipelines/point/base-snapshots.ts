import type { ChangeList, Watch } from '../../drivers/driver.ts'
import type { OwnDataset } from '../../points/own-datasets.ts'
import type { PipelineTools } from '../pipeline.ts'
import { dropListingOf, dropListings } from './unchanged.ts'

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/** The snapshot that the newest point of a series was made of is named by that point and kept until there is a newer one. */
export interface Snapshotted {
  readonly pool: string
  /** The dataset that is backed up. */
  readonly source: string
  /** Target and directory. */
  readonly series: string
  readonly pointId: string
}

/** Whether a pool can tell what differs between two of its snapshots: only then is one kept. */
export function keepsBases(tools: PipelineTools, pool: string): boolean {
  return tools.driver(pool).changes !== undefined
}

/** Durable when it returns: the older one may go. */
export function keepBase(tools: PipelineTools, { pool, source, series, pointId }: Snapshotted): void {
  tools.points.own.claim({ pool, dataset: pointId, use: { kind: 'base', source, series, at: Date.now() } })
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

/** All that is kept of a dataset. */
export async function dropBases(tools: PipelineTools, source: string): Promise<void> {
  dropListings(tools, source)
  await destroyAll(tools, tools.points.own.basesOf(source))
}

/** What is kept for one point, which is no more. */
export async function dropBaseOf(tools: PipelineTools, pointId: string): Promise<void> {
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

async function destroyAll(tools: PipelineTools, owned: readonly OwnDataset[]): Promise<void> {
  for (const { pool, dataset } of owned) {
    await tools.driver(pool).destroy(dataset, unwatched)
    tools.points.own.forget(dataset)
  }
}
