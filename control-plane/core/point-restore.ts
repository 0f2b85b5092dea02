import assert from 'node:assert/strict'
import { FleetError } from '../../shared/errors.ts'
import type { ReadablePoint } from '../../shared/point-spec.ts'
import { atLeast, type Caller } from './caller.ts'
import { orderNewDataset } from './datasets.ts'
import { choosePool, type FleetView, requireOnline } from './fleet-view.ts'
import { placeOf, usable } from './images.ts'
import type { Decision, Findings, Hold, LockedPoint } from './orders.ts'
import { INSTANCE_TAG, instanceTag } from './point-instances.ts'
import { isBelow } from './point-orders.ts'
import type { RestorePointRequest } from './point-requests.ts'

/** Everything that a restore is decided on. */
export interface RestoreQuestion {
  readonly caller: Caller
  readonly asked: RestorePointRequest
  readonly fleet: FleetView
  readonly findings: Findings
  readonly point: LockedPoint
  readonly readable: ReadablePoint
  /** Of the point and its bases. */
  readonly holds: readonly Hold[]
}

/** Directories of a host belong to no tenant. @throws refused. */
export function requireHostPaths(caller: Caller, field: string): void {
  if (atLeast(caller.fleetRole, 'operator')) return
  throw new FleetError('refused', `a path outside every dataset needs the role 'operator' over the whole fleet`, {
    field,
  })
}

/** What is written when a restore is accepted. @throws invalid, not_found, conflict, refused, unavailable. */
export function decideRestore(question: RestoreQuestion): Omit<Decision, 'request' | 'interactive'> {
  const { destination } = question.asked
  if ('newDataset' in destination) return intoNewDataset(question, destination)
  if ('dataset' in destination) return intoDataset(question, destination)
  assert('path' in destination, 'instances are decided elsewhere')
  return ontoHost(question, destination)
}

function intoDataset(
  { asked, fleet, findings, point, readable, holds }: RestoreQuestion,
  { dataset: name, path }: { readonly dataset: string; readonly path: string },
): Omit<Decision, 'request' | 'interactive'> {
  const field = 'destination.dataset'
  const dataset = usable(findings.named(name), name, field)
  if (dataset.readonly) throw new FleetError('invalid', `'${name}' is read-only; name another dataset`, { field })
  requireReach(point, dataset.host, field)
  requireOnline(fleet, dataset.host)
  return {
    spec: restoreSpec(readable, asked, { kind: 'dataset', place: placeOf(dataset), path }),
    host: { id: dataset.hostId, name: dataset.host },
    subject: { id: dataset.id, name },
    holds: [...holds, { lane: dataset.id, exclusive: true }],
  }
}

function ontoHost(
  { caller, asked, fleet, point, readable, holds }: RestoreQuestion,
  { host: name, path }: { readonly host: string; readonly path: string },
): Omit<Decision, 'request' | 'interactive'> {
  requireHostPaths(caller, 'destination')
  const host = fleet.host(name)
  if (host === undefined) {
    throw new FleetError('not_found', `there is no host '${name}'`, { field: 'destination.host' })
  }
  requireReach(point, name, 'destination.host')
  requireOnline(fleet, name)
  if (!isBelow(path, host.restorePaths)) {
    throw new FleetError('refused', `host '${name}' allows no restores there`, { field: 'destination.path' })
  }
  return { spec: restoreSpec(readable, asked, { kind: 'host', path }), host, subject: null, holds }
}

function intoNewDataset(
  { asked, fleet, point, readable, holds }: RestoreQuestion,
  wish: Extract<RestorePointRequest['destination'], { readonly newDataset: string }>,
): Omit<Decision, 'request' | 'interactive'> {
  requireWhole(asked, 'a new dataset')
  // A point without a target is read where it lies.
  const isLeftOpen = wish.host === undefined && wish.pool === undefined
  const host = isLeftOpen && point.targetId === null ? point.host : wish.host
  const pool = choosePool(fleet, { host, pool: wish.pool })
  requireReach(point, pool.host.name, 'destination.pool')
  const made = orderNewDataset({
    ...{ request: asked, pool, name: wish.newDataset },
    tags: wish.madeFor ? { [INSTANCE_TAG]: instanceTag(wish.madeFor) } : {},
  })
  const place = made.spec.target
  return {
    create: made.create,
    spec: restoreSpec(readable, asked, { kind: 'new', place }),
    host: made.host,
    subject: made.subject,
    holds,
  }
}

/** @throws invalid. */
export function requireWhole({ paths = [] }: RestorePointRequest, what: string): void {
  if (paths.length === 0 || paths.includes('')) return
  throw new FleetError('invalid', `only a whole point becomes ${what}; name an existing dataset for a part`, {
    field: 'paths',
  })
}

/** @throws invalid when `host` cannot read the point. */
export function requireReach(point: LockedPoint, host: string, field: string): void {
  if (point.targetId !== null || point.host === host) return
  throw new FleetError('invalid', `the point lies on host '${point.host}' and can be restored there only`, { field })
}

export function restoreSpec(
  readable: ReadablePoint,
  asked: RestorePointRequest,
  destination: Extract<Decision['spec'], { kind: 'point.restore' }>['destination'],
): Decision['spec'] {
  const paths = asked.paths ?? []
  return {
    kind: 'point.restore',
    ...readable,
    paths: paths.includes('') ? [] : paths,
    destination,
    ...(asked.overwrite === undefined ? {} : { overwrite: asked.overwrite }),
  }
}
