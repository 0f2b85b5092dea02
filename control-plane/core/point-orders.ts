import { FleetError } from '../../shared/errors.ts'
import type { OrderTarget, PointRef, ReadablePoint } from '../../shared/point-spec.ts'
import type { LunConnection } from '../../shared/volume-spec.ts'
import { atLeast, type Caller } from './caller.ts'
import type { Accepted } from './datasets.ts'
import { anyOnline, type FleetView, type LiveHost } from './fleet-view.ts'
import type { PresentInstance } from './instances.ts'
import type { Hold, LockedPoint, OrderTask, PointFindings } from './orders.ts'
import type { Page, PageRequest } from './page.ts'
import { chainThrough, refOf } from './point-chain.ts'
import type { NamedDataset } from './point-to-instance.ts'
import { type PointMove, requireNotTrashed } from './point-trash.ts'
import type { CreatePoint, LentSource, PointCondition, PointFilter, PointInfo, Points, RestorePoint } from './points.ts'
import type { KeptTarget } from './targets.ts'

export interface OrderPoint extends Omit<CreatePoint, 'source'> {
  /** `lent`: a LUN of the block service behind us; of nothing that a client may name. */
  readonly source: CreatePoint['source'] | { readonly lent: LentSource }
  /** A point that a schedule makes: its series is `container-backup@<name>`, whatever its source. */
  readonly backup?: { readonly scheduleId: string; readonly name: string } | undefined
  /** The series' own directory in `path`, whatever the source: one segment. */
  readonly directory?: string | undefined
}

/** What dialects do not need: retries, and what waits for the job. */
export interface PointOrders extends Points {
  create(caller: Caller, request: OrderPoint, retryOf?: string): Promise<Accepted & { readonly point: PointInfo }>
  /** A point for a task, which is told nothing of it. @param host where its dataset was seen last: conflict when it is elsewhere now. */
  order(caller: Caller, request: OrderPoint, task: OrderTask, host?: string): Promise<Accepted>
  verify(caller: Caller, id: string, retryOf?: string, task?: OrderTask): Promise<Accepted>
  rehearse(caller: Caller, id: string, retryOf?: string): Promise<Accepted>
  restore(caller: Caller, id: string, request: RestorePoint, retryOf?: string, task?: OrderTask): Promise<Accepted>
  /** Over a LUN that is lent for it, by a host that can log in there. @throws conflict, unavailable */
  writeLun(caller: Caller, id: string, lun: LentDestination, task: OrderTask): Promise<Accepted>
  delete(caller: Caller, id: string, ifMatch?: PointCondition, retryOf?: string): Promise<Accepted>
  /** What retention or whoever took it back owes. @throws conflict when it is owed no longer; unavailable */
  move(caller: Caller, id: string, kind: PointMove, retryOf?: string): Promise<Accepted>
}

export interface LentDestination {
  readonly host: string
  readonly connection: LunConnection
  readonly sizeBytes: number
}

/** A point with the names of its bases, oldest first. */
export type KeptPoint = PointInfo & { readonly bases: readonly PointRef[] }

/** What Postgres must answer for points. */
export interface PointReader {
  find(groupId: string, id: string): Promise<KeptPoint | undefined>
  /** The one that a job makes or has made. */
  madeBy(groupId: string, jobId: string): Promise<KeptPoint | undefined>
  list(groupId: string, filter: PointFilter, page: PageRequest): Promise<Page<PointInfo>>
  /** Written only to the version it was decided on, with its audit. @returns false when it has another one by now. */
  pin(caller: Caller, point: PointInfo, pinned: boolean): Promise<boolean>
  /** Datasets of the group that were made for this very instance, by a restore or as a clone. */
  datasetsOf(groupId: string, instance: PresentInstance): Promise<readonly NamedDataset[]>
  /** The host of a dataset, whatever its state; undefined when there is none. */
  hostOf(groupId: string, dataset: string): Promise<string | undefined>
}

export function noPoint(id: string): FleetError {
  return new FleetError('not_found', `there is no point '${id}'`)
}

/** @throws conflict for one that holds nothing, yet or any more, or is not in its place. */
export function requireReadable(
  point: Pick<PointInfo, 'status' | 'isDeleting'> & Parameters<typeof requireNotTrashed>[0],
): void {
  if (point.isDeleting) throw new FleetError('conflict', 'the point is being deleted')
  if (point.status === 'running') throw new FleetError('conflict', 'the point is still being made')
  if (point.status === 'failed') throw new FleetError('conflict', 'the point failed: it holds nothing')
  requireNotTrashed(point)
}

/** Each group's points without a target lie in a directory of its own below the host's backup root. */
export function localTarget(groupId: string): OrderTarget {
  const limits = { slots: 4, windows: [], timezone: 'UTC' }
  const config = { name: 'local', protocol: 'local', base: `/${groupId}`, verify: 'server', limits } as const
  return { id: null, config, secretId: null, recipients: [] }
}

export function orderTarget(target: KeptTarget): OrderTarget {
  const { id, config, secretId, recipients } = target
  return { id, config, secretId, recipients: [...recipients] }
}

/** The host that works on a point: the one that made it, or any other that is online when it lies on a target. @throws unavailable. */
export function hostThatReads(
  fleet: FleetView,
  point: { readonly host: string; readonly targetId: string | null },
): LiveHost {
  const own = fleet.host(point.host)
  if (own?.isOnline) return own
  if (point.targetId === null) throw new FleetError('unavailable', `host '${point.host}' is offline`)
  return anyOnline(fleet)
}

/** What an agent must know to read a point, and the claims that keep it there meanwhile. */
export function readableOf(
  findings: PointFindings,
  point: LockedPoint,
  target: OrderTarget,
): { readonly readable: ReadablePoint; readonly holds: readonly Hold[] } {
  requireReadable(point)
  const chain = chainThrough(findings, point)
  if (chain === undefined) throw new FleetError('corrupt', 'a point that it rests on is gone')
  chain.forEach(requireNotTrashed)
  return {
    readable: {
      target,
      series: point.series,
      pointId: point.id,
      chain: chain.map(refOf),
    },
    holds: chain.map(({ id }) => ({ lane: id, exclusive: false })),
  }
}

/** Whether `path` is one of `prefixes`, which end with a slash, or below one. */
export function isBelow(path: string, prefixes: readonly string[]): boolean {
  return prefixes.some((prefix) => `${path}/`.startsWith(prefix))
}

/** Paths of hosts are for the fleet's admins. */
export function shownTo(caller: Caller, point: PointInfo & { readonly bases?: unknown }): PointInfo {
  const { bases: _, ...info } = point
  return atLeast(caller.fleetRole, 'admin') ? info : { ...info, location: null }
}
