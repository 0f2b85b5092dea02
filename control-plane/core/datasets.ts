import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { InstanceType } from '../../shared/instance-spec.ts'
import { DatasetMade } from '../../shared/job-spec.ts'
import type { Capabilities, DriverName } from '../../shared/wire/messages.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkRequest } from './check-request.ts'
import { type Condition, requireCondition } from './condition.ts'
import { choosePool, type FleetView, type LivePool, requireAccepting, requireOnline } from './fleet-view.ts'
import { notFound, orderImage, placeOf, usable } from './images.ts'
import { type NewDataset, type OrderBook, orderOf } from './orders.ts'
import { INSTANCE_TAG } from './point-instances.ts'
import { CloneDatasetRequest, CreateDatasetRequest } from './requests.ts'
import type { Roots } from './roots.ts'

/** Where a snapshot or clone came from. `name` is null once that dataset is gone; its ordinal stays. */
export interface Origin {
  readonly id: string
  readonly ordinal: number
  readonly name: string | null
}

/** A dataset or a snapshot (which is one too) as Postgres knows it. */
export interface Dataset {
  readonly id: string
  /** Order of creation over the fleet; `root` is 0 in every group. */
  readonly ordinal: number
  readonly groupId: string
  readonly name: string
  readonly isSnapshot: boolean
  readonly readonly: boolean
  readonly origin: Origin | null
  readonly state: 'creating' | 'available' | 'deleting'
  readonly host: string
  readonly pool: string
  readonly driver: DriverName
  readonly capabilities: Capabilities
  /** Zero until it is available. */
  readonly rootInode: number
  readonly mountpoint: string
  /** `crash`: one instant; `fuzzy`: a walk over a tree that may have been written meanwhile. */
  readonly consistency: 'crash' | 'fuzzy'
  readonly tags: Readonly<Record<string, string>>
  readonly createdAt: Date
  /** Grows with every change of the row. */
  readonly version: number
}

/** Work that was accepted and is durable. */
export interface Accepted {
  readonly jobId: string
}

/** `dataset` as it is while it is being made; see `madeAvailable`. */
export interface AcceptedDataset extends Accepted {
  readonly dataset: Dataset
}

/** A dataset after the job that makes it has succeeded with `result`; what a read of it would now give. */
export function madeAvailable(dataset: Dataset, result: unknown): Dataset {
  const { rootInode, mountpoint, atomic } = DatasetMade.parse(result)
  const consistency = atomic ? 'crash' : 'fuzzy'
  return { ...dataset, state: 'available', rootInode, mountpoint, consistency, version: dataset.version + 1 }
}

export interface CreateDataset {
  readonly name: string
  readonly host?: string | undefined
  readonly pool?: string | undefined
  readonly tags?: Readonly<Record<string, string>> | undefined
}

export interface CloneDataset {
  readonly source: string
  readonly name: string
  readonly tags?: Readonly<Record<string, string>> | undefined
}

export interface DeleteDataset {
  readonly name: string
  /** Refuses a dataset that is no snapshot. */
  readonly snapshotOnly?: boolean
  readonly ifMatch?: Condition<Dataset> | undefined
}

/**
 * Datasets of the caller's group. Mutations answer as soon as the job is durable; `jobs.settled` waits for its end.
 * All throw forbidden for viewers, unavailable for an offline host.
 */
export interface Datasets {
  /** @throws invalid (name, tags), exists, not_found (host or pool), unavailable (no pool is online). */
  create(caller: Caller, request: CreateDataset): Promise<AcceptedDataset>
  /** A writable copy-on-write image of a dataset or snapshot. @throws not_found, exists, conflict (the source is being made or deleted). */
  clone(caller: Caller, request: CloneDataset): Promise<AcceptedDataset>
  /** Works for snapshots too. @throws not_found, stale, conflict (`root`, dependants: `blockers`, or no snapshot). */
  delete(caller: Caller, request: DeleteDataset): Promise<Accepted>
  /** One that exists on its host: available, or still being deleted. @throws not_found. */
  get(caller: Caller, name: string): Promise<Dataset>
  /** Those that exist, snapshots included, by ordinal. */
  list(caller: Caller, filter?: { readonly snapshots?: boolean }): Promise<readonly Dataset[]>
}

/** What dialects do not need: retries. */
export interface DatasetOrders extends Datasets {
  create(caller: Caller, request: CreateDataset, retryOf?: string): Promise<AcceptedDataset>
  clone(caller: Caller, request: CloneDataset, retryOf?: string): Promise<AcceptedDataset>
  delete(caller: Caller, request: DeleteDataset, retryOf?: string): Promise<Accepted>
}

/** What Postgres must answer for datasets. */
export interface DatasetReader {
  find(groupId: string, name: string): Promise<Dataset | undefined>
  list(groupId: string, filter: { readonly snapshotsOnly: boolean }): Promise<readonly Dataset[]>
}

/** The name of the dataset that every group's clients expect to be there. */
export const ROOT_DATASET = 'root'

export function createDatasets(deps: {
  readonly orders: OrderBook
  readonly reader: DatasetReader
  readonly fleet: FleetView
  readonly roots: Roots
}): DatasetOrders {
  const { orders, reader, fleet, roots } = deps

  return {
    async create(caller, request, retryOf) {
      requireRole(caller, 'operator')
      const asked = checkRequest(CreateDatasetRequest, request)
      await roots.ready(caller.groupId)
      return orders.placeNew(
        orderOf(caller, [], () => {
          const pool = choosePool(fleet, asked)
          return orderNewDataset({ request: asked, pool, name: asked.name, tags: asked.tags ?? {}, retryOf })
        }),
      )
    },

    async clone(caller, request, retryOf) {
      requireRole(caller, 'operator')
      const asked = checkRequest(CloneDatasetRequest, request)
      await roots.ready(caller.groupId)
      return orders.placeNew(
        orderOf(caller, [asked.source], (findings) => {
          const source = usable(findings.named(asked.source), asked.source)
          requireAccepting(fleet, source.host)
          return orderImage({ request: asked, source, snapshot: undefined, retryOf })
        }),
      )
    },

    async delete(caller, { name, snapshotOnly = false, ifMatch }, retryOf) {
      requireRole(caller, 'operator')
      const order = orderOf(caller, [name], (findings) => {
        const found = findings.named(name)
        // First: to a client with an old version, one that is being deleted has changed.
        if (found) requireCondition(ifMatch, found)
        const dataset = usable(found, name)
        if (snapshotOnly && !dataset.isSnapshot) throw new FleetError('conflict', `'${name}' is not a snapshot`)
        if (dataset.partOf !== null) {
          const blockers = [`instance snapshot ${dataset.partOf}`]
          throw new FleetError('conflict', `'${name}' is part of a snapshot of an instance: delete that`, { blockers })
        }
        if (dataset.ordinal === 0) throw new FleetError('conflict', `the dataset '${ROOT_DATASET}' cannot be deleted`)
        requireOnline(fleet, dataset.host)
        return {
          remove: { id: dataset.id },
          request: { name },
          spec: { kind: 'dataset.delete', target: placeOf(dataset), ...madeFor(dataset) },
          host: { id: dataset.hostId, name: dataset.host },
          subject: { id: dataset.id, name },
          holds: [{ lane: dataset.id, exclusive: true }],
          interactive: true,
          ...(retryOf === undefined ? {} : { retryOf }),
        }
      })
      return orders.place(ifMatch === undefined ? order : { ...order, isExact: true })
    },

    async get(caller, name) {
      await roots.ready(caller.groupId)
      const dataset = await reader.find(caller.groupId, name)
      if (dataset === undefined) throw notFound(name)
      return dataset
    },

    async list(caller, filter) {
      await roots.ready(caller.groupId)
      return reader.list(caller.groupId, { snapshotsOnly: filter?.snapshots ?? false })
    },
  }
}

/** Its agent looks whether the instance still lies in it. */
function madeFor({ tags }: Pick<Dataset, 'tags'>): { readonly madeFor?: InstanceType } {
  const type = InstanceType.safeParse(tags[INSTANCE_TAG]?.split(':')[0])
  return type.success ? { madeFor: type.data } : {}
}

function placementOf({ id, name, host, driver, capabilities }: LivePool): NewDataset['pool'] {
  return { id, host: host.name, pool: name, driver, capabilities }
}

export function orderNewDataset(order: {
  readonly request: unknown
  readonly pool: LivePool
  readonly name: string
  readonly tags: Readonly<Record<string, string>>
  readonly retryOf?: string | undefined
}) {
  const id = newId()
  return {
    create: {
      id,
      name: order.name,
      pool: placementOf(order.pool),
      isSnapshot: false,
      readonly: false,
      origin: null,
      tags: order.tags,
    },
    request: order.request,
    spec: { kind: 'dataset.create' as const, target: { pool: order.pool.localName, dataset: id } },
    host: order.pool.host,
    subject: { id, name: order.name },
    holds: [],
    interactive: true,
    ...(order.retryOf === undefined ? {} : { retryOf: order.retryOf }),
  }
}
