import { FleetError } from '../../shared/errors.ts'
import type { JobFailure, Phase, Progress } from '../../shared/job-event.ts'
import { isTerminal, type JobState } from '../../shared/job-machine.ts'
import type { JobKind, JobSpec } from '../../shared/job-spec.ts'
import { actingFor, type Caller, requireRole, visibleGroup } from './caller.ts'
import { checkRequest } from './check-request.ts'
import { type Condition, requireCondition } from './condition.ts'
import type { Accepted, DatasetOrders } from './datasets.ts'
import type { ExportOrders } from './exports.ts'
import type { InstanceSnapshotOrders } from './instance-captures.ts'
import { CloneInstanceRequest, InstanceRequest, StopInstanceRequest } from './instance-requests.ts'
import type { InstanceOrders } from './instances.ts'
import { cancelJob, type JobChange, type LockedJob } from './job-change.ts'
import type { Page, PageRequest } from './page.ts'
import type { PointOrders } from './point-orders.ts'
import { CreatePointRequest, PointRequest, RestorePointRequest } from './point-requests.ts'
import {
  CloneDatasetRequest,
  CreateDatasetRequest,
  CreateSnapshotRequest,
  DeleteDatasetRequest,
  RestoreSnapshotRequest,
} from './requests.ts'
import type { SnapshotOrders } from './snapshots.ts'
import { CreateVolumeRequest, KeptVolumeRequest } from './volume-requests.ts'
import type { OnlyThat, VolumeOrders } from './volumes.ts'

export interface Job {
  readonly id: string
  readonly kind: JobKind
  readonly spec: JobSpec
  readonly state: JobState
  readonly host: string
  readonly attempt: number
  /** Changes with everything that can change in a job. */
  readonly version: string
  readonly progress: Progress | null
  readonly phases: readonly Phase[]
  readonly error: JobFailure | null
  readonly result: unknown
  /** The dataset that the job makes, changes or deletes; its name when it was ordered. */
  readonly subject: { readonly id: string; readonly name: string } | null
  readonly retryOf: string | null
  readonly createdBy: string
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
}

/** How far a job has come: every write of its row moves one of these, and is made only to the row they were read from. */
export function jobVersion(job: Pick<LockedJob, 'state' | 'attempt' | 'heardDelivery' | 'heardSeq'>): string {
  return `${job.state}.${job.attempt}.${job.heardDelivery}.${job.heardSeq}`
}

/** What `If-Match` of a job is asked about. */
export type JobCondition = Condition<Pick<Job, 'id' | 'version'>>

export interface JobFilter {
  readonly state?: readonly JobState[] | undefined
  readonly kind?: JobKind | undefined
  readonly host?: string | undefined
  /** A dataset's name. */
  readonly dataset?: string | undefined
}

export interface Jobs {
  /** @throws not_found. */
  get(caller: Caller, id: string): Promise<Job>
  /** Newest first; of exports without their elements and results. @throws invalid for a cursor that is not ours, not_found for a host that nobody knows. */
  list(caller: Caller, filter: JobFilter, page: PageRequest): Promise<Page<Job>>
  /** Asks a job to stop: cancelled at once when it was never sent, else when its agent confirms. @throws not_found, stale, conflict (already ended). */
  cancel(caller: Caller, id: string, ifMatch?: JobCondition): Promise<Job>
  /** A new job for the same work, with `retryOf`. @throws not_found, stale, conflict (not failed or cancelled, or its dataset has moved on). */
  retry(caller: Caller, id: string, ifMatch?: JobCondition): Promise<Job>
  /**
   * Waits for the end of a job and gives its result.
   * @throws the job's own failure; timeout (the job goes on); unavailable when its host stayed silent and the order was withdrawn.
   */
  settled(id: string, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<unknown>
}

/** What Postgres must answer for jobs. */
export interface JobReader {
  /** `groupId` null: of any group. */
  find(groupId: string | null, id: string): Promise<KeptJob | undefined>
  list(groupId: string | null, filter: JobFilter, page: PageRequest): Promise<Page<Job>>
  /** How a job of any group ended, or undefined while it goes on. @throws not_found. */
  end(id: string): Promise<JobEnd | undefined>
}

/** A job with what it was asked, for retries. */
export type KeptJob = Job & { readonly groupId: string; readonly request: unknown }

/** How a job ended, as somebody who waits for it learns it. */
export type JobEnd =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: JobFailure }

/** Where this replica learns of ends. */
export interface JobEnds {
  /** @throws timeout, busy (too many waiters), or what the signal was aborted with. */
  wait(jobId: string, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<JobEnd>
  /** Tells whoever waits. */
  deliver(jobId: string, end: JobEnd): void
}

/** What an agent's failure is to whoever asked for the work. */
export function failureOf({ code, message, field, blockers, members }: JobFailure): FleetError {
  return new FleetError(code, message, {
    ...(field ? { field } : {}),
    ...(blockers ? { blockers } : {}),
    ...(members ? { members } : {}),
  })
}

/** Not what has its name by now; of a snapshot's deletion that snapshot. */
function theVolumeOf({ spec }: KeptJob): OnlyThat {
  return ({ id }) => 'volumeId' in spec && spec.volumeId === id
}

/** The same. */
function theDatasetOf({ subject }: KeptJob): OnlyThat {
  return ({ id }) => subject?.id === id
}

const CANCELLED: JobFailure = { code: 'cancelled', message: 'the job was cancelled' }
/** Most work that is waited for is done by then. */
const LOOK_AFTER_MS = 500
const RETRYABLE: readonly JobState[] = ['failed', 'cancelled']

export function createJobs(deps: {
  readonly reader: JobReader
  readonly ends: JobEnds
  readonly datasets: DatasetOrders
  readonly snapshots: SnapshotOrders
  readonly points: PointOrders
  readonly instances: InstanceOrders
  readonly volumes: VolumeOrders
  readonly exports: Pick<ExportOrders, 'again'>
  readonly instanceSnapshots: Pick<InstanceSnapshotOrders, 'again'>
  readonly knowsHost: (name: string) => Promise<boolean>
  /** Writes the change; resolves after commit. */
  readonly change: (id: string, decide: (job: LockedJob) => JobChange | undefined) => Promise<void>
}): Jobs {
  const { reader, ends, datasets, snapshots, points, instances, volumes, exports, instanceSnapshots } = deps

  async function find(caller: Caller, id: string): Promise<KeptJob> {
    const job = await reader.find(visibleGroup(caller), id)
    if (job === undefined) throw new FleetError('not_found', `there is no job '${id}'`)
    return job
  }

  /** Asks again what the job was asked; everything is checked anew. */
  const again: Record<JobKind, (caller: Caller, job: KeptJob) => Promise<Accepted>> = {
    'dataset.create': (caller, job) => datasets.create(caller, CreateDatasetRequest.parse(job.request), job.id),
    'dataset.clone': (caller, job) => datasets.clone(caller, CloneDatasetRequest.parse(job.request), job.id),
    'dataset.delete': (caller, job) =>
      datasets.delete(caller, { ...DeleteDatasetRequest.parse(job.request), ifMatch: theDatasetOf(job) }, job.id),
    'snapshot.create': (caller, job) => snapshots.create(caller, CreateSnapshotRequest.parse(job.request), job.id),
    'snapshot.restore': (caller, job) => snapshots.restore(caller, RestoreSnapshotRequest.parse(job.request), job.id),
    'point.create': (caller, job) => points.create(caller, CreatePointRequest.parse(job.request), job.id),
    'point.verify': (caller, job) => points.verify(caller, PointRequest.parse(job.request).id, job.id),
    'point.rehearse': (caller, job) => points.rehearse(caller, PointRequest.parse(job.request).id, job.id),
    'point.restore': (caller, job) => {
      // Paths that were taken once may be refused by now.
      const { id, ...request } = checkRequest(RestorePointRequest, job.request)
      return points.restore(caller, id, request, job.id)
    },
    'point.delete': (caller, job) => points.delete(caller, PointRequest.parse(job.request).id, undefined, job.id),
    'point.trash': (caller, job) => points.move(caller, PointRequest.parse(job.request).id, 'point.trash', job.id),
    'point.untrash': (caller, job) => points.move(caller, PointRequest.parse(job.request).id, 'point.untrash', job.id),
    'instance.clone': (caller, job) => {
      const { id, ...request } = CloneInstanceRequest.parse(job.request)
      return instances.clone(caller, id, request, { retryOf: job.id })
    },
    'instance.start': (caller, job) =>
      instances.start(caller, InstanceRequest.parse(job.request).id, { retryOf: job.id }),
    'instance.stop': (caller, job) => {
      const { id, ...request } = StopInstanceRequest.parse(job.request)
      return instances.stop(caller, id, request, { retryOf: job.id })
    },
    'volume.create': (caller, job) => volumes.create(caller, CreateVolumeRequest.parse(job.request), job.id),
    'volume.clone': (caller, job) => volumes.clone(caller, KeptVolumeRequest.clone.parse(job.request), job.id),
    'volume.resize': (caller, job) => {
      const { volume, sizeBytes } = KeptVolumeRequest.resize.parse(job.request)
      return volumes.resize(caller, volume, sizeBytes, theVolumeOf(job), job.id)
    },
    'volume.snapshot': (caller, job) => {
      const { volume, name } = KeptVolumeRequest.snapshot.parse(job.request)
      return volumes.snapshot(caller, volume, name, job.id)
    },
    'volume.delete': (caller, job) => {
      const { volume, name } = KeptVolumeRequest.delete.parse(job.request)
      if (name === undefined) return volumes.delete(caller, volume, theVolumeOf(job), job.id)
      return volumes.deleteSnapshot(caller, volume, name, job.id, theVolumeOf(job))
    },
    'volume.rollback': (caller, job) => {
      const { volume, name } = KeptVolumeRequest.rollback.parse(job.request)
      return volumes.rollback(caller, volume, name, job.id, theVolumeOf(job))
    },
    'volume.restore': (caller, job) =>
      volumes.restore(caller, KeptVolumeRequest.restore.parse(job.request), job.id, theVolumeOf(job)),
    'lun.restore': () => {
      throw new FleetError('refused', 'what another service lent is not lent any more: restore the backup again')
    },
    'instance.snapshot': (caller, job) => instanceSnapshots.again(caller, job),
    'instance.discard': (caller, job) => instanceSnapshots.again(caller, job),
    'export.create': (caller, job) => exports.again(caller, job),
    'export.delete': (caller, job) => exports.again(caller, job),
    'export.reconcile': (caller, job) => exports.again(caller, job),
  }

  return {
    get: find,

    async list(caller, filter, page) {
      const found = await reader.list(visibleGroup(caller), filter, page)
      // Asked only where it makes a difference: a host with jobs is known.
      if (found.items.length > 0 || filter.host === undefined || (await deps.knowsHost(filter.host))) return found
      throw new FleetError('not_found', `there is no host '${filter.host}'`, { field: 'host' })
    },

    async cancel(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const job = await find(caller, id)
      requireRole(actingFor(caller, job.groupId), 'operator')
      requireCondition(ifMatch, job)
      if (isTerminal(job.state)) throw new FleetError('conflict', `the job has ended already: it ${job.state}`)
      let overtaken: unknown
      await deps.change(id, (locked) => {
        try {
          requireCondition(ifMatch, { id, version: jobVersion(locked) })
          overtaken = undefined
          const change = cancelJob(locked, CANCELLED, false)
          return change && { ...change, by: { ...caller, groupId: job.groupId } }
        } catch (error) {
          overtaken = error
          return undefined
        }
      })
      if (overtaken !== undefined) throw overtaken
      return find(caller, id)
    },

    async retry(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const job = await find(caller, id)
      // Only a job that has ended can be tried again, and such a one never changes: this look is as good as a lock.
      requireCondition(ifMatch, job)
      if (!RETRYABLE.includes(job.state)) {
        throw new FleetError('conflict', `only failed and cancelled jobs can be tried again; this one is ${job.state}`)
      }
      const { jobId } = await again[job.kind](actingFor(caller, job.groupId), job)
      return find(caller, jobId)
    },

    async settled(id, options) {
      const end = await settle(id, options)
      if (end.ok) return end.result
      throw failureOf(end.error)
    },
  }

  /** Of what ended before anybody waited for it here nobody tells any more: Postgres is asked soon, and has the last word. */
  async function settle(
    id: string,
    options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<JobEnd> {
    const timer = setTimeout(() => look(id).catch(() => undefined), LOOK_AFTER_MS)
    try {
      return await ends.wait(id, options)
    } catch (error) {
      const late = error instanceof FleetError && error.code === 'timeout' ? await reader.end(id) : undefined
      if (late === undefined) throw error
      return late
    } finally {
      clearTimeout(timer)
    }
  }

  async function look(id: string): Promise<void> {
    const end = await reader.end(id)
    if (end !== undefined) ends.deliver(id, end)
  }
}
