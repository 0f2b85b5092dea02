import type { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { atLeast, type Caller, requireRole } from './caller.ts'
import { checkRequest } from './check-request.ts'
import { type Accepted, type AcceptedDataset, ROOT_DATASET } from './datasets.ts'
import { type FleetView, requireOnline } from './fleet-view.ts'
import { orderImage, placeOf, usable } from './images.ts'
import { type Decision, type Findings, type LockedDataset, type OrderBook, orderOf } from './orders.ts'
import { CreateSnapshotRequest, RestoreSnapshotRequest } from './requests.ts'
import type { Roots } from './roots.ts'

export interface CreateSnapshot {
  readonly source: string
  readonly name: string
  readonly readonly: boolean
  readonly tags?: Readonly<Record<string, string>> | undefined
}

export interface RestoreSnapshot {
  readonly snapshot: string
  /** Absolute path inside the snapshot; `/` is the whole of it. */
  readonly source: string
  /** `dataset`: resolved beneath a dataset's root. `host`: an absolute path of the host, below the agent's allow-list. */
  readonly destination: { readonly kind: 'dataset' | 'host'; readonly path: string }
  /** Names another dataset on the same host; absent: the one the snapshot was taken from, or `root` if that is gone. */
  readonly dataset?: string | undefined
  readonly overwrite?: boolean | undefined
}

/** Snapshots of the caller's group. Reading and deleting them goes through `datasets`: a snapshot is one. */
export interface Snapshots {
  /** @throws not_found (source), exists (name), conflict (source being made or deleted), unavailable. */
  create(caller: Caller, request: CreateSnapshot): Promise<AcceptedDataset>
  /** @throws not_found, invalid (not a snapshot, a path that is not absolute, a dataset on another host), conflict, unavailable. */
  restore(caller: Caller, request: RestoreSnapshot): Promise<Accepted>
}

/** What dialects do not need: retries. */
export interface SnapshotOrders extends Snapshots {
  create(caller: Caller, request: CreateSnapshot, retryOf?: string): Promise<AcceptedDataset>
  restore(caller: Caller, request: RestoreSnapshot, retryOf?: string): Promise<Accepted>
}

export function createSnapshots(deps: {
  readonly orders: OrderBook
  readonly fleet: FleetView
  readonly roots: Roots
}): SnapshotOrders {
  const { orders, fleet, roots } = deps
  return {
    async create(caller, request, retryOf) {
      requireRole(caller, 'operator')
      const asked = checkRequest(CreateSnapshotRequest, request)
      await roots.ready(caller.groupId)
      return orders.placeNew(
        orderOf(caller, [asked.source], (findings) => {
          const source = usable(findings.named(asked.source), asked.source)
          requireOnline(fleet, source.host)
          return orderImage({ request: asked, source, snapshot: { readonly: asked.readonly }, retryOf })
        }),
      )
    },

    async restore(caller, request, retryOf) {
      requireRole(caller, 'operator')
      const asked = checkRequest(RestoreSnapshotRequest, request)
      if (asked.destination.kind === 'host') requireHostPaths(caller)
      const names = [asked.snapshot, asked.dataset ?? ROOT_DATASET]
      return orders.place(
        orderOf(caller, names, (findings) => {
          const order = orderRestore(asked, findings)
          requireOnline(fleet, order.host.name)
          return retryOf === undefined ? order : { ...order, retryOf }
        }),
      )
    },
  }
}

/** Directories of a host belong to no tenant. @throws refused. */
function requireHostPaths(caller: Caller): void {
  if (atLeast(caller.fleetRole, 'operator')) return
  throw new FleetError('refused', `a path outside every dataset needs the role 'operator' over the whole fleet`, {
    field: 'destination',
  })
}

type Asked = z.infer<typeof RestoreSnapshotRequest>

function orderRestore(asked: Asked, findings: Findings): Decision {
  const snapshot = usable(findings.named(asked.snapshot), asked.snapshot, 'snapshot')
  if (!snapshot.isSnapshot)
    throw new FleetError('invalid', `'${asked.snapshot}' is not a snapshot`, { field: 'snapshot' })
  const inside = asked.destination.kind === 'dataset' ? destinationDataset(asked, snapshot, findings) : undefined
  return {
    request: asked,
    spec: {
      kind: 'snapshot.restore',
      snapshot: placeOf(snapshot),
      sourcePath: asked.source,
      destination: inside
        ? { kind: 'dataset', place: placeOf(inside), path: asked.destination.path }
        : { kind: 'host', path: asked.destination.path },
      ...(asked.overwrite === undefined ? {} : { overwrite: asked.overwrite }),
    },
    host: { id: snapshot.hostId, name: snapshot.host },
    subject: inside ? { id: inside.id, name: inside.name } : { id: snapshot.id, name: snapshot.name },
    holds: [{ lane: snapshot.id, exclusive: false }, ...(inside ? [{ lane: inside.id, exclusive: true }] : [])],
    interactive: true,
  }
}

/** The named dataset, else the one the snapshot was taken from, else `root`; always on the snapshot's host and writable. */
function destinationDataset(asked: Asked, snapshot: LockedDataset, findings: Findings): LockedDataset {
  const origin = snapshot.origin === null ? undefined : findings.withId(snapshot.origin.id)
  const chosen =
    asked.dataset === undefined
      ? (origin ?? findings.named(ROOT_DATASET))
      : usable(findings.named(asked.dataset), asked.dataset, 'dataset')
  if (chosen === undefined) {
    throw new FleetError('invalid', `the dataset that '${snapshot.name}' was taken from is gone; name a 'dataset'`, {
      field: 'dataset',
    })
  }
  if (chosen.host !== snapshot.host) {
    const why = asked.dataset === undefined ? 'the dataset it was taken from is gone and ' : ''
    throw new FleetError(
      'invalid',
      `${why}'${chosen.name}' is on another host than the snapshot; name a 'dataset' on '${snapshot.host}'`,
      { field: 'dataset' },
    )
  }
  if (chosen.readonly)
    throw new FleetError('invalid', `'${chosen.name}' is read-only; name another 'dataset'`, { field: 'dataset' })
  if (chosen.id === snapshot.id)
    throw new FleetError('invalid', `a snapshot cannot be restored into itself; name another 'dataset'`, {
      field: 'dataset',
    })
  return usable(chosen, chosen.name)
}
