import { FleetError } from '../../shared/errors.ts'
import type { Hold, InstanceType } from '../../shared/instance-spec.ts'
import type { MemberName, PointProblem } from '../../shared/point-spec.ts'
import type { LunConnection } from '../../shared/volume-spec.ts'
import type { PointFile, ReadAnswerOf } from '../../shared/wire/reads.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import { type Condition, requireCondition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import type { FleetView } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import { instanceBackupTaskOf } from './instance-backup-state.ts'
import { type OrderBook, type OrderTask, orderOf } from './orders.ts'
import type { Page, PageRequest } from './page.ts'
import { decideCreate, locateSource, seriesSource } from './point-create.ts'
import type { InstanceNames } from './point-instances.ts'
import {
  type KeptPoint,
  localTarget,
  noPoint,
  type OrderPoint,
  orderTarget,
  type PointOrders,
  type PointReader,
  shownTo,
} from './point-orders.ts'
import { createPointReads } from './point-reads.ts'
import { CreatePointRequest } from './point-requests.ts'
import { backupDirectory, seriesOf } from './point-series.ts'
import type { VolumeNames } from './point-volumes.ts'
import { createPointWork } from './point-work.ts'
import { noTarget, type TargetReader } from './targets.ts'
import { changeVersion } from './version-change.ts'
import { backupTaskOf } from './volume-backup-state.ts'

export type PointSource =
  | { readonly kind: 'dataset'; readonly id: string; readonly name: string }
  | { readonly kind: 'path'; readonly path: string }
  /** As it was called when the point was made; it may be gone since. */
  | { readonly kind: 'instance'; readonly id: string; readonly type: InstanceType; readonly name: string }
  /** The same; `name` is `<pool>/<name>`. `snapshot`: as it was at that one of its own. `isLent`: of the block service behind us. */
  | {
      readonly kind: 'volume'
      readonly id: string
      readonly name: string
      readonly snapshot: string | null
      readonly isLent?: true
    }

/** One archive, as Postgres knows it. */
export interface PointInfo {
  readonly id: string
  readonly groupId: string
  readonly source: PointSource
  /** The host that made it; without a target it lies there. */
  readonly host: string
  readonly target: { readonly id: string; readonly name: string } | null
  /** Directory of its series below the target's base, and its own name in it. */
  readonly series: string
  readonly name: string
  /** `damaged` and being deleted are told beside it. */
  readonly status: 'running' | 'good' | 'partial' | 'failed'
  readonly isDeleting: boolean
  /** When retention deleted it: nothing builds on it any more, and its bytes go when the undo window ends. */
  readonly trashedAt: Date | null
  /** Trashed, and wanted back: it counts again once it stands in its place. */
  readonly isReturning: boolean
  readonly pinned: boolean
  /** Ids of the points that it completes, oldest first; empty for a full one. */
  readonly chain: readonly string[]
  readonly fullReason: string | null
  readonly synthetic: boolean
  readonly storedBytes: number
  readonly sourceBytes: number
  readonly members: number
  readonly problemCount: number
  /** The first thousand; lists leave them out. */
  readonly problems: readonly PointProblem[]
  readonly consistency: 'crash' | 'fuzzy'
  readonly encrypted: boolean
  /** Why it failed. */
  readonly error: { readonly code: string; readonly message: string } | null
  readonly damage: { readonly at: Date; readonly members: readonly string[] } | null
  readonly verifiedAt: Date | null
  readonly rehearsedAt: Date | null
  readonly recoverySeconds: number | null
  /** Absolute path on the host; null for points on a target. For admins of the fleet. */
  readonly location: string | null
  /** The job that made it. */
  readonly jobId: string
  readonly createdAt: Date
  readonly finishedAt: Date | null
  /** Grows with every change. */
  readonly version: number
}

export interface CreatePoint {
  /** `path`: an absolute directory of the host, below its allow-list; for operators of the fleet. */
  readonly source: PointSourceWish
  /** A target's id; absent: the host's own backup root. */
  readonly target?: string | undefined
  /** Below the target's base (locally: the group's directory); absent: at its top. */
  readonly path?: string | undefined
  /** Completes the newest good point of the series, where there is one. */
  readonly incremental?: boolean | undefined
  /** Default true. */
  readonly compress?: boolean | undefined
}

export type PointSourceWish =
  | { readonly dataset: string }
  | { readonly host: string; readonly path: string }
  /** Its name, or what its agent calls it; how it is held while it is copied from: not at all unless said. */
  | {
      readonly instance: string
      readonly type?: InstanceType | undefined
      readonly host?: string | undefined
      readonly hold?: Hold | undefined
      /** Ids of snapshots of datasets that it is read from, where all of it lies in those: of one instant, with others perhaps. */
      readonly snapshots?: readonly { readonly dataset: string; readonly snapshot: string }[] | undefined
    }
  /** By id or `<pool>/<name>`: as it is, or as it was at its snapshot of that name. */
  | { readonly volume: string; readonly snapshot?: string | undefined }

/** A LUN that is lent for one point, and the volume whose state it is. */
export interface LentSource {
  readonly id: string
  readonly name: string
  readonly snapshot: string | null
  readonly host: string
  readonly connection: LunConnection
  readonly sizeBytes: number
}

export interface PointFilter {
  /** A dataset's name, `host:/path`, `type:name` of an instance, or `<pool>/<name>` of a volume. */
  readonly source?: string | undefined
  /** A target's id, or `local`. */
  readonly target?: string | undefined
  readonly status?: PointInfo['status'] | undefined
}

export interface RestorePoint {
  /** Files and directories of the point; absent or empty: the whole of it. */
  readonly paths?: readonly MemberName[] | undefined
  readonly destination:
    | { readonly dataset: string; readonly path: string }
    /** A new dataset for the whole point; `host` and `pool` as for any new dataset. */
    | {
        readonly newDataset: string
        readonly host?: string | undefined
        readonly pool?: string | undefined
        /** Of a migration: the instance that it will be brought up to date and made into. */
        readonly madeFor?: { readonly type: InstanceType; readonly name: string } | undefined
      }
    | { readonly host: string; readonly path: string }
    | InstanceWanted
  readonly overwrite?: boolean | undefined
}

/** An instance from a point of one: the whole of it, on a dataset that is made for it. */
export interface InstanceWanted {
  /** What it is to be called. */
  readonly instance: string
  /** Default: the point's. */
  readonly type?: InstanceType | undefined
  /** Default: where the one that is replaced is, else where the point was made. */
  readonly host?: string | undefined
  readonly pool?: string | undefined
  /** Default false. */
  readonly start?: boolean | undefined
  /** A stopped one of that name goes once the new one is whole; default false. */
  readonly replace?: boolean | undefined
  /** Of a migration alone: a dataset that holds the point `from` of the same chain, instead of one that is made for it. */
  readonly onto?: { readonly dataset: string; readonly from: string } | undefined
}

export interface BrowsePoint extends PageRequest {
  readonly path: MemberName
  /** Part of a name, whatever the case: searches below `path`. */
  readonly search?: string | undefined
}

export type PointDifference = ReadAnswerOf<'point-diff'>['items'][number]
export type PointCondition = Condition<PointInfo>

/** Archives of the caller's group. Work answers as soon as its job is durable. All throw not_found for another group's points. */
export interface Points {
  /** @throws invalid, not_found (dataset, instance, volume, target, host), conflict (dataset or volume being made or deleted, several hosts have the instance), refused (a path without the role), unavailable (host offline). */
  create(caller: Caller, request: CreatePoint): Promise<Accepted & { readonly point: PointInfo }>
  get(caller: Caller, id: string): Promise<PointInfo>
  /** Newest first. @throws invalid for a cursor that is not ours. */
  list(caller: Caller, filter: PointFilter, page: PageRequest): Promise<Page<PointInfo>>
  /** A pinned point is never deleted. @throws stale */
  pin(caller: Caller, id: string, pinned: boolean, ifMatch?: PointCondition): Promise<PointInfo>
  /** Read by an agent that can reach it. @throws unavailable, invalid (path, cursor), conflict (not finished) */
  files(caller: Caller, id: string, request: BrowsePoint): Promise<Page<PointFile>>
  /** What it takes to come from `id` to `other`. */
  diff(caller: Caller, id: string, other: string, page: PageRequest): Promise<Page<PointDifference>>
  /** Re-reads the point and its bases and compares hashes. @throws conflict (not good or partial), unavailable */
  verify(caller: Caller, id: string): Promise<Accepted>
  /** Restores it for a moment, compares it with its index, and measures how long that took. */
  rehearse(caller: Caller, id: string): Promise<Accepted>
  /** @throws invalid, not_found, conflict, refused, exists (new dataset), unavailable */
  restore(caller: Caller, id: string, request: RestorePoint): Promise<Accepted>
  /** @throws conflict: pinned, running, or others depend on it (`blockers`: their ids); stale */
  delete(caller: Caller, id: string, ifMatch?: PointCondition): Promise<Accepted>
}

export function createPoints(deps: {
  readonly orders: OrderBook
  readonly reader: PointReader
  readonly targets: TargetReader
  readonly instances: InstanceNames
  readonly volumes: VolumeNames
  readonly fleet: FleetView
  readonly reads: HostReads
  readonly now?: () => number
}): PointOrders {
  const { orders, reader, targets, instances, volumes, fleet, now = Date.now } = deps

  async function find(caller: Caller, id: string): Promise<KeptPoint> {
    const point = await reader.find(caller.groupId, id)
    if (point === undefined) throw noPoint(id)
    return point
  }

  /** @throws not_found. */
  async function targetOf(caller: Caller, id: string | undefined, field?: string) {
    if (id === undefined) return undefined
    const target = await targets.find(caller.groupId, id)
    if (target === undefined) throw noTarget(id, field)
    return target
  }

  async function place(
    caller: Caller,
    request: OrderPoint,
    given: { readonly retryOf?: string | undefined; readonly task?: OrderTask; readonly host?: string | undefined },
  ): Promise<Accepted> {
    const { retryOf, task, host: seen } = given
    requireRole(caller, 'operator')
    const asked = checkKept(CreatePointRequest, request)
    if ('lent' in asked.source && (task?.kind !== 'backup' || task.loan === undefined))
      throw new FleetError('refused', 'what was lent for it is not lent any more: update the backup')
    const kept = await targetOf(caller, asked.target, 'target')
    const known = seen === undefined ? reader : { hostOf: async () => seen }
    const located = await locateSource({ fleet, instances, volumes, reader: known, seen }, caller, asked)
    const { host, source } = located
    if (kept === undefined && host.backupRoot === null) {
      throw new FleetError('refused', `host '${host.name}' keeps no backups itself; name a target`, { field: 'target' })
    }
    const { groupId } = caller
    const series = seriesOf({
      ...{ groupId, targetId: kept?.id ?? null, host, source: seriesSource(source), path: asked.path ?? '' },
      directory: asked.directory ?? (asked.backup && backupDirectory(asked.backup.name)),
    })
    const target = kept ? orderTarget(kept) : localTarget(groupId)
    const hasIdentity = kept?.hasIdentity ?? false
    const order = orderOf(caller, source.kind === 'dataset' ? [source.name] : [], (findings) => {
      const question = { asked, groupId, located, series, target, hasIdentity, fleet, findings, nowMs: now() }
      const decision = { ...decideCreate(question), request: asked, interactive: false }
      return retryOf === undefined ? decision : { ...decision, retryOf }
    })
    // A point that is tried again is the backup's as the first was.
    const waits = task ?? backupTaskOf(asked.directory, now()) ?? instanceBackupTaskOf(asked.directory, now())
    if (source.kind === 'instance' && waits?.kind !== 'instance-backup') requireTree(source.instance.type)
    return orders.place({ ...order, task: waits, points: { ids: [], series } })
  }

  return {
    async create(caller, request, retryOf) {
      const { jobId } = await place(caller, request, { retryOf })
      const point = await reader.madeBy(caller.groupId, jobId)
      if (point === undefined) throw new FleetError('not_found', 'the point that was ordered is gone already')
      return { jobId, point: shownTo(caller, point) }
    },

    order: (caller, request, task, host) => place(caller, request, { task, host }),

    get: async (caller, id) => shownTo(caller, await find(caller, id)),

    async list(caller, filter, page) {
      const found = await reader.list(caller.groupId, filter, page)
      return { ...found, items: found.items.map((point) => shownTo(caller, point)) }
    },

    async pin(caller, id, pinned, ifMatch) {
      requireRole(caller, 'operator')
      await changeVersion(
        async () => {
          const point = await find(caller, id)
          requireCondition(ifMatch, shownTo(caller, point))
          return point
        },
        async (point) => {
          if (point.pinned === pinned) return true
          if (pinned && point.isDeleting) throw new FleetError('conflict', 'the point is being deleted')
          if (pinned && point.trashedAt !== null) {
            throw new FleetError('conflict', 'the point was deleted by retention; take it back first')
          }
          return (await reader.pin(caller, point, pinned)) || undefined
        },
      )
      return shownTo(caller, await find(caller, id))
    },

    ...createPointReads({ ...deps, find, targetOf }),

    ...createPointWork({ ...deps, find, targetOf }),
  }
}

/** @throws refused for a domain, of which a point would hold the configuration alone. */
function requireTree(type: InstanceType): void {
  if (type !== 'libvirt') return
  const instead = 'an instance backup covers all of it'
  throw new FleetError('refused', `a point holds no disks of a domain: those are volumes; ${instead}`, {
    field: 'source.instance',
  })
}
