import { isTerminal } from '../../shared/job-machine.ts'
import type { AuditActor, AuditEntry } from './audit.ts'
import { SYSTEM_CALLER } from './caller.ts'
import type { JobChange, LockedJob } from './job-change.ts'

/**
 * The audit's account of a change: who asked the job to stop, and how the job ended. That it was ordered, by whom and from
 * where, is told by the row of the order, which has the same job.
 */
export function auditOf(change: JobChange): AuditEntry[] {
  const { job, by, withdrawn, state } = change
  const stopped = by !== undefined || withdrawn ? [stop(change)] : []
  if (!isTerminal(state)) return stopped
  const isGood = state === 'succeeded'
  const code = isGood ? undefined : (change.error?.code ?? 'cancelled')
  return [
    ...stopped,
    {
      by: by ?? (change.heard === undefined ? ourselves(job) : agentOf(job)),
      operation: job.kind,
      object: objectOf(job),
      result: isGood ? 'done' : 'failed',
      code: state === 'cancelled' ? 'cancelled' : code,
      jobId: job.id,
    },
  ]
}

/** It is done when the job stands still, accepted while its agent has yet to say so. */
function stop({ job, by, state, withdrawn }: JobChange): AuditEntry {
  return {
    by: by ?? ourselves(job),
    operation: withdrawn ? 'job.withdraw' : 'job.cancel',
    object: { kind: 'job', id: job.id },
    result: isTerminal(state) ? 'done' : 'accepted',
    jobId: job.id,
  }
}

/** A host's word about a job of another host. */
export function forgeryOf({ host, job }: { readonly host: string; readonly job: LockedJob }): AuditEntry {
  return {
    by: { subject: `host:${host}`, userId: null, groupId: null, via: 'agent', request: null },
    operation: 'job.report',
    object: { kind: 'job', id: job.id },
    result: 'refused',
    code: 'forbidden',
    jobId: job.id,
    detail: { host_of_job: job.host },
  }
}

function ourselves(job: LockedJob): AuditActor {
  return { ...SYSTEM_CALLER, groupId: job.groupId }
}

function agentOf(job: LockedJob): AuditActor {
  return { subject: `host:${job.host}`, userId: null, groupId: job.groupId, via: 'agent', request: null }
}

/** What a job is about: a point, an instance, a volume or exports where there are some, else a dataset. */
export function objectOf({ spec, datasetId, datasetName }: Pick<LockedJob, 'spec' | 'datasetId' | 'datasetName'>) {
  // The point stays what it was; the volume does not.
  if ('pointId' in spec && spec.kind !== 'volume.restore') return { kind: 'point', id: spec.pointId, name: datasetName }
  switch (spec.kind) {
    case 'instance.clone':
      return { kind: 'instance', id: spec.instanceId ?? null, name: spec.name }
    case 'instance.start':
    case 'instance.stop':
    case 'instance.snapshot':
      return { kind: 'instance', id: spec.instanceId ?? null, name: `${spec.place.type}:${spec.place.instance}` }
    case 'instance.discard':
      return { kind: 'instance', id: spec.instanceId ?? null, name: null }
    case 'volume.create':
    case 'volume.clone':
    case 'volume.resize':
    case 'volume.snapshot':
    case 'volume.delete':
    case 'volume.rollback':
    case 'volume.restore':
      return { kind: 'volume', id: spec.volumeId ?? null, name: nameOf(spec.place) }
    case 'export.create':
    case 'export.delete': {
      const [first, ...more] = spec.elements
      if (first === undefined || more.length > 0)
        return { kind: 'export', id: null, name: `${spec.elements.length} exports` }
      return { kind: 'export', id: first.exportId ?? null, name: first.wwn }
    }
    case 'export.reconcile':
      return { kind: 'export', id: null, name: `${spec.exports.length} exports` }
    default:
      return { kind: 'dataset', id: datasetId, name: datasetName }
  }
}

/** As its host calls it. */
function nameOf(place: {
  readonly pool: string
  readonly volume: string
  readonly snapshot?: string | undefined
}): string {
  return `${place.pool}/${place.volume}${place.snapshot === undefined ? '' : `@${place.snapshot}`}`
}
