import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { Hold as InstanceHold } from '../../shared/instance-spec.ts'
import type { OrderTarget } from '../../shared/point-spec.ts'
import type { Caller } from './caller.ts'
import { type FleetView, type LiveHost, requireOnline } from './fleet-view.ts'
import { notFound, placeOf, usable } from './images.ts'
import type { PresentInstance } from './instances.ts'
import type { Decision, Findings, Hold, PointSeries } from './orders.ts'
import { chainOf } from './point-chain.ts'
import { type InstanceNames, oneInstance } from './point-instances.ts'
import { isBelow, type PointReader } from './point-orders.ts'
import type { CreatePointRequest } from './point-requests.ts'
import { requireHostPaths } from './point-restore.ts'
import { nextPointName } from './point-series.ts'
import { type LocatedVolume, locateVolume, type VolumeNames } from './point-volumes.ts'
import type { LentSource, PointSource } from './points.ts'
import { volumeNameOf } from './volume-names.ts'

const INSTANCE_FIELDS = { instance: 'source.instance', type: 'source.type', host: 'source.host' } as const

/** Where a source is: a dataset by its name, its id to come from the locked row. */
export interface LocatedSource {
  readonly host: LiveHost
  readonly source:
    | { readonly kind: 'dataset'; readonly name: string }
    | Extract<PointSource, { kind: 'path' }>
    | {
        readonly kind: 'instance'
        readonly instance: PresentInstance
        readonly hold: InstanceHold
        readonly snapshots?: readonly { readonly dataset: string; readonly snapshot: string }[] | undefined
      }
    | ({ readonly kind: 'volume' } & LocatedVolume)
    | ({ readonly kind: 'lun' } & LentSource)
}

/** @param deps `seen`: where its dataset or instance was last. @throws not_found, conflict (several hosts have the instance, the volume is being made or deleted), refused (a path without the role, or that the host does not allow), unavailable. */
export async function locateSource(
  deps: {
    readonly fleet: FleetView
    readonly instances: InstanceNames
    readonly volumes: VolumeNames
    readonly reader: Pick<PointReader, 'hostOf'>
    readonly seen?: string | undefined
  },
  caller: Caller,
  { source }: CreatePointRequest,
): Promise<LocatedSource> {
  const { fleet, reader } = deps
  if ('dataset' in source) {
    const name = await reader.hostOf(caller.groupId, source.dataset)
    if (name === undefined) throw notFound(source.dataset, 'source.dataset')
    return { host: live(fleet, name), source: { kind: 'dataset', name: source.dataset } }
  }
  if ('instance' in source) {
    const { hold = 'none', host = deps.seen, snapshots, ...wish } = source
    const instance = await oneInstance(deps, caller.groupId, { ...wish, host }, INSTANCE_FIELDS)
    return { host: live(fleet, instance.host), source: { kind: 'instance', instance, hold, snapshots } }
  }
  if ('volume' in source) {
    const located = await locateVolume(deps.volumes, caller.groupId, source)
    return { host: live(fleet, located.volume.host), source: { kind: 'volume', ...located } }
  }
  if ('lent' in source) return { host: live(fleet, source.lent.host), source: { kind: 'lun', ...source.lent } }
  requireHostPaths(caller, 'source')
  if (!fleet.knows(source.host)) {
    throw new FleetError('not_found', `there is no host '${source.host}'`, { field: 'source.host' })
  }
  const host = live(fleet, source.host)
  const path = source.path.replaceAll(/\/+/g, '/').replace(/(.)\/$/, '$1')
  if (!isBelow(path, host.sourcePaths)) {
    throw new FleetError('refused', `host '${host.name}' allows no backups from there`, { field: 'source.path' })
  }
  return { host, source: { kind: 'path', path } }
}

function live(fleet: FleetView, name: string): LiveHost {
  const host = fleet.host(name)
  if (!host?.isOnline) throw new FleetError('unavailable', `host '${name}' is offline`)
  return host
}

/** Everything that a new point is decided on. */
export interface CreateQuestion {
  readonly asked: CreatePointRequest
  readonly groupId: string
  readonly located: LocatedSource
  readonly series: PointSeries
  readonly target: OrderTarget
  /** The fleet can open what lies encrypted there. */
  readonly hasIdentity: boolean
  readonly fleet: FleetView
  readonly findings: Findings
  readonly nowMs: number
}

/** What is written when a new point is accepted. @throws not_found, conflict, unavailable. */
export function decideCreate(question: CreateQuestion): Omit<Decision, 'request' | 'interactive'> {
  const { asked, groupId, located, series, target, fleet, findings, nowMs } = question
  const { host } = located
  requireOnline(fleet, host.name)
  const { source, from, subject, holds } = sourceOf(question)
  const name = nextPointName(nowMs, findings.newest()?.name)
  const { hasIdentity } = question
  const chain = chainOf(findings, { incremental: asked.incremental ?? false, hostId: host.id, hasIdentity })
  const id = newId()
  const { bases, fullReason, consolidate } = chain
  return {
    point: {
      create: {
        ...{ id, name, source, chain: bases.map((base) => base.id), fullReason },
        scheduleId: asked.backup?.scheduleId ?? null,
      },
    },
    spec: {
      kind: 'point.create',
      target,
      series: series.directory,
      pointId: id,
      name,
      source: from,
      bases: [...bases],
      fullReason,
      consolidate,
      compression: asked.compress === false ? 'none' : 'zstd',
      about: {
        source: source.kind === 'path' ? `${host.name}:${source.path}` : source.name,
        ...(source.kind === 'instance' ? { type: source.type } : {}),
        ...(source.kind === 'volume' && source.snapshot !== null ? { snapshot: source.snapshot } : {}),
        group: groupId,
        host: host.name,
        ...(asked.backup ? { backup: asked.backup.name } : {}),
      },
    },
    host: { id: host.id, name: host.name },
    subject,
    holds: [
      ...holds,
      { lane: series.id, exclusive: true },
      ...bases.map((base) => ({ lane: base.id, exclusive: false })),
    ],
  }
}

interface DecidedSource {
  readonly source: PointSource
  readonly from: Extract<Decision['spec'], { kind: 'point.create' }>['source']
  readonly subject: Decision['subject']
  readonly holds: readonly Hold[]
}

function sourceOf({ located, findings }: CreateQuestion): DecidedSource {
  const { source, host } = located
  if (source.kind === 'path') return { source, from: source, subject: null, holds: [] }
  if (source.kind === 'instance') {
    const { id, type, name, ref } = source.instance
    const { hold, snapshots = [] } = source
    const taken = snapshots.length === 0 ? {} : { snapshots: [...snapshots] }
    return {
      source: { kind: 'instance', id, type, name },
      from: { kind: 'instance', place: { type, instance: ref }, hold, ...taken },
      subject: null,
      holds: [id, ...snapshots.map(({ snapshot }) => snapshot)].map((lane) => ({ lane, exclusive: false })),
    }
  }
  if (source.kind === 'volume') return volumeSource(source)
  if (source.kind === 'lun') return lunSource(source)
  const { name } = source
  const dataset = usable(findings.named(name), name, 'source.dataset')
  // Deleted and made anew in this very moment.
  if (dataset.host !== host.name) throw new FleetError('conflict', `'${name}' is on another host now; try again`)
  return {
    source: { kind: 'dataset', id: dataset.id, name },
    from: { kind: 'dataset', place: placeOf(dataset) },
    subject: { id: dataset.id, name },
    holds: [{ lane: dataset.id, exclusive: false }],
  }
}

/** Nobody changes or deletes it, or its snapshots, until the point is made. */
function volumeSource({ volume, snapshot }: LocatedVolume): DecidedSource {
  const { id, path, lane, localPool } = volume
  const place = { pool: localPool, volume: volumeNameOf(path)?.name ?? '' }
  return {
    source: { kind: 'volume', id, name: path, snapshot },
    from: { kind: 'volume', place, ...(snapshot === null ? {} : { snapshot }) },
    subject: null,
    holds: [{ lane, exclusive: false }],
  }
}

/** It is lent for this point alone, and holds nobody of ours up. */
function lunSource({ id, name, snapshot, connection, sizeBytes }: LentSource): DecidedSource {
  return {
    source: { kind: 'volume', id, name, snapshot, isLent: true },
    from: { kind: 'lun', connection, sizeBytes },
    ...{ subject: null, holds: [] },
  }
}

/** What the series of a source is called after. */
export function seriesSource(source: LocatedSource['source']): PointSource {
  if (source.kind === 'path') return source
  if (source.kind === 'dataset') return { ...source, id: '' }
  if (source.kind === 'volume') return volumeSource(source).source
  if (source.kind === 'lun') return lunSource(source).source
  const { id, type, name } = source.instance
  return { kind: 'instance', id, type, name }
}
