import type { InstanceState, InstanceType, ReportedInstance } from '../../shared/instance-spec.ts'
import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import type { OrderTask } from './orders.ts'
import type { Page, PageRequest } from './page.ts'

/** A container of a host, as Postgres knows it. It keeps its id while it is away. */
export interface InstanceInfo {
  readonly id: string
  readonly groupId: string
  readonly host: string
  readonly type: InstanceType
  /** What its agent calls it; null until the job that makes it tells. */
  readonly ref: string | null
  readonly name: string
  /** `CREATING`: a job makes it. */
  readonly state: 'CREATING' | InstanceState
  readonly mounts: ReportedInstance['mounts']
  /** Changes with its configuration; null where that cannot be read. */
  readonly configHash: string | null
  readonly createdAt: Date
  /** When its agent listed it last with something new about it; null: not yet. */
  readonly seenAt: Date | null
  /** Since when its agent lists it no more; null while it is there. */
  readonly goneAt: Date | null
  /** The host that it was migrated to: this is the original, which was left behind stopped. */
  readonly movedTo: string | null
  /** Grows with every change of the row. */
  readonly version: number
}

/** `isMoving`: it is between its hosts, and nobody but its migration may start it. */
export type KeptInstance = InstanceInfo & { readonly hostId: string; readonly isMoving: boolean }
/** One that stands on its host. */
export type PresentInstance = KeptInstance & { readonly ref: string }

export interface InstanceFilter {
  readonly type?: InstanceType | undefined
  readonly host?: string | undefined
  readonly state?: readonly InstanceInfo['state'][] | undefined
  readonly name?: string | undefined
  /** Those that are gone instead of those that are there. */
  readonly gone?: boolean | undefined
}

/** Which one is meant, by its name or by what its agent calls it. */
export interface InstanceWish {
  readonly instance: string
  readonly type?: InstanceType | undefined
  readonly host?: string | undefined
}

/** What Postgres must answer for instances. `groupId` null: of any group. */
export interface InstanceReader {
  /** Also one that is gone. */
  find(groupId: string | null, id: string): Promise<KeptInstance | undefined>
  /** Those that stand on their hosts now. An original that was migrated away is meant only with its host, or when it runs again. */
  named(groupId: string | null, wish: InstanceWish): Promise<readonly PresentInstance[]>
  list(groupId: string | null, filter: InstanceFilter, page: PageRequest): Promise<Page<InstanceInfo>>
  /** The one that an order of ours made, or was about. */
  ofJob(jobId: string): Promise<KeptInstance | undefined>
  /** A group's id, by that, its document id or its name. */
  group(group: string): Promise<string | undefined>
  /** Written only to the version it was decided on, with its audit. @returns false when it has another one by now. */
  assign(caller: Caller, instance: InstanceInfo, groupId: string): Promise<boolean>
}

export interface CloneInstance {
  /** Of the new instance, and of the dataset that is made for it. */
  readonly name: string
  /** Of the same host; absent: the one with most free bytes. */
  readonly pool?: string | undefined
  /** Default `pause`. */
  readonly hold?: 'none' | 'pause' | 'stop' | undefined
  /** Default false. */
  readonly start?: boolean | undefined
}

export interface StopInstance {
  /** Before it is ended; default 30 s. */
  readonly graceMs?: number | undefined
}

export type InstanceCondition = Condition<InstanceInfo>

/** Instances of the caller's group; to those with a role over the fleet, of every group. Work answers as soon as its job is durable. */
export interface Instances {
  /** Newest first. @throws invalid for a cursor that is not ours. */
  list(caller: Caller, filter: InstanceFilter, page: PageRequest): Promise<Page<InstanceInfo>>
  /** @throws not_found. */
  get(caller: Caller, id: string): Promise<InstanceInfo>
  /** Hands it over to another group. @param group its id or name. @throws forbidden, not_found, stale, conflict (being made) */
  assign(caller: Caller, id: string, group: string, ifMatch?: InstanceCondition): Promise<InstanceInfo>
  /** @throws invalid, not_found, exists (name), conflict (gone or being made), unavailable. */
  clone(caller: Caller, id: string, request: CloneInstance): Promise<Accepted & { readonly instance: InstanceInfo }>
  /** One that runs already stays as it is. @throws not_found, conflict (also while it is migrated), unavailable */
  start(caller: Caller, id: string): Promise<Accepted>
  stop(caller: Caller, id: string, request?: StopInstance): Promise<Accepted>
}

/** What an order is placed for. */
export interface OrderLink {
  /** The job that it tries again. */
  readonly retryOf?: string | undefined
  /** What waits for it. */
  readonly task?: OrderTask | undefined
}

/** What dialects do not need: retries, and what waits for the job. */
export interface InstanceOrders extends Instances {
  clone(
    caller: Caller,
    id: string,
    request: CloneInstance,
    link?: OrderLink,
  ): Promise<Accepted & { readonly instance: InstanceInfo }>
  start(caller: Caller, id: string, link?: OrderLink): Promise<Accepted>
  stop(caller: Caller, id: string, request?: StopInstance, link?: OrderLink): Promise<Accepted>
}
