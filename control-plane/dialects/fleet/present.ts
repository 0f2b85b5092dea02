import { hash } from 'node:crypto'
import { atLeast, type Caller, SYSTEM_CALLER } from '../../core/caller.ts'
import type { Host, Pool } from '../../core/hosts.ts'
import type { Job, JobCondition } from '../../core/jobs.ts'
import type { HostView, JobView, PoolView, ProgressView } from './schemas.ts'

export function time(at: Date | null): string | null {
  return at === null ? null : at.toISOString()
}

export function presentPool(pool: Pool): PoolView {
  const { cow, atomic, enforcesReadonly } = pool.capabilities
  return {
    id: pool.id,
    name: pool.name,
    host: pool.host,
    driver: pool.driver,
    capabilities: { cow, atomic, enforces_readonly: enforcesReadonly },
    size_bytes: pool.sizeBytes,
    free_bytes: pool.freeBytes,
  }
}

/** Where a host keeps archives is for admins of the fleet. */
export function presentHost(host: Host, caller: Caller): HostView {
  return {
    id: host.id,
    name: host.name,
    state: host.state,
    draining: host.draining,
    version: host.version,
    slots: host.slots,
    restore_paths: [...host.restorePaths],
    source_paths: [...host.sourcePaths],
    backup_root: atLeast(caller.fleetRole, 'admin') ? host.backupRoot : null,
    last_seen_at: time(host.lastSeenAt),
    credential_expires_at: time(host.credentialExpiresAt),
    pools: host.pools.map(presentPool),
    instance_problems: [...host.instanceProblems],
  }
}

function presentProgress(progress: NonNullable<Job['progress']>): ProgressView {
  const { phase, files, totalFiles, bytes, totalBytes, bytesPerSecond, secondsLeft } = progress
  return {
    phase,
    files,
    total_files: totalFiles,
    bytes,
    total_bytes: totalBytes,
    bytes_per_second: bytesPerSecond,
    seconds_left: secondsLeft,
  }
}

/** Changes with every beat that is kept: whoever removes a host under a condition has looked at it just now. */
export function etagOfHost(host: Host): string {
  return `"${hash('sha256', JSON.stringify(presentHost(host, SYSTEM_CALLER)), 'base64url')}"`
}

export function etagOf({ id, version }: Pick<Job, 'id' | 'version'>): string {
  return `"${id}.${version}"`
}

/** `If-Match` of a job, as core asks it; the paths of its actions share its validator. */
export function expecting(ifMatch: ((etag: string) => boolean) | undefined): JobCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOf(current)))
}

/** Where volumes lie on their host is told by volumes, to those who may know it. */
function withoutDevices(result: unknown): unknown {
  if (Array.isArray(result)) return result.map(withoutDevices)
  if (typeof result !== 'object' || result === null) return result
  const members = Object.entries(result).filter(([name]) => name !== 'device')
  return Object.fromEntries(members.map(([name, member]) => [name, withoutDevices(member)]))
}

/** What was wrong on a host that was told all its exports names those of every group. */
function resultFor({ kind, result }: Job, caller: Caller): unknown {
  return kind === 'export.reconcile' && caller.fleetRole === null ? null : withoutDevices(result ?? null)
}

/** A job without its spec: that holds uuids and paths of hosts. */
export function presentJob(job: Job, caller: Caller): JobView {
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    progress: job.progress && presentProgress(job.progress),
    percent: job.state === 'succeeded' ? 100 : (job.progress?.percent ?? null),
    phases: [...job.phases],
    error: job.error,
    host: job.host,
    attempt: job.attempt,
    dataset: job.subject && { id: job.subject.id, name: job.subject.name },
    instance_id: 'instanceId' in job.spec ? (job.spec.instanceId ?? null) : null,
    result: resultFor(job, caller),
    retry_of: job.retryOf,
    created_by: job.createdBy,
    created_at: job.createdAt.toISOString(),
    started_at: time(job.startedAt),
    finished_at: time(job.finishedAt),
  }
}
