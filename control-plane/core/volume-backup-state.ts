import type { JobState } from '../../shared/job-machine.ts'
import { isTerminal } from '../../shared/job-machine.ts'
import type { BackupTask } from './orders.ts'
import type { VolumeBackupStatus } from './volume-backups.ts'

/** A point of a backup, as its state is made of it. */
export interface BackupPoint {
  readonly id: string
  readonly status: 'running' | 'good' | 'partial' | 'failed'
  /** It goes, or is trashed. */
  readonly isGoing: boolean
  readonly isDamaged: boolean
  readonly storedBytes: number
  /** Why it failed. */
  readonly error: string | null
  /** Parts of the volume that could not be read, and the first of the reasons. */
  readonly problemCount: number
  readonly problem: string | null
  readonly jobId: string
  readonly createdAtMs: number
}

/** What of a backup's row is made of its points and jobs. */
export interface BackupState {
  readonly status: VolumeBackupStatus
  readonly sizeBytes: number
  readonly storedBytes: number
  readonly failReason: string | null
  /** Ids of good ones, oldest first. */
  readonly points: readonly string[]
  readonly jobId: string | null
  readonly owesPrune: boolean
}

export interface BackupFacts {
  /** As it was made last. */
  readonly before: BackupState
  readonly isDeleting: boolean
  readonly retention: number
  /** Of the volume, when the newest point was asked for. */
  readonly askedBytes: number
  /** Oldest first. */
  readonly points: readonly BackupPoint[]
  /** The newest job that restored it. */
  readonly restore: {
    readonly id: string
    readonly state: JobState
    readonly error: string | null
    readonly createdAtMs: number
  } | null
  /** What is borrowed for it, and has no job yet. */
  readonly loan: 'read' | 'write' | null
  /** Why the newest loan came to nothing before it had one. */
  readonly lendFault: { readonly kind: 'read' | 'write'; readonly reason: string; readonly atMs: number } | null
}

/** What a backup is, whatever has become of its points and jobs: made anew from them alone whenever one has ended. */
export function stateOf(facts: BackupFacts): BackupState {
  const { before, isDeleting, retention, askedBytes, points, restore, loan, lendFault } = facts
  const standing = points.filter(({ isGoing }) => !isGoing)
  const newest = standing.at(-1)
  const good = standing.filter(isGood).map(({ id }) => id)
  const lastGood = good.at(-1)
  const isNew = lastGood !== undefined && !before.points.includes(lastGood)
  const isRestoreNewer = restore !== null && restore.createdAtMs > (newest?.createdAtMs ?? 0)
  const common = {
    sizeBytes: isNew ? askedBytes : before.sizeBytes,
    storedBytes: points.reduce((sum, point) => sum + point.storedBytes, 0),
    points: good,
    jobId: loan === null ? ((isRestoreNewer ? restore.id : newest?.jobId) ?? before.jobId) : null,
    owesPrune: before.owesPrune || (isNew && retention > 0),
  }
  if (isDeleting) return { ...common, status: 'deleting', failReason: before.failReason, owesPrune: false }
  if (loan === 'read' || points.some(({ status }) => status === 'running'))
    return { ...common, status: 'creating', failReason: null }
  const isRestoring = loan === 'write' || (restore !== null && !isTerminal(restore.state))
  if (isRestoring) return { ...common, status: 'restoring', failReason: null }
  const lastMs = Math.max(newest?.createdAtMs ?? 0, restore?.createdAtMs ?? 0)
  const lent = lendFault !== null && lendFault.atMs > lastMs ? lendFault : null
  const fault = lent?.kind === 'read' ? lent.reason : faultOf(newest)
  const jobFault = isRestoreNewer && restore.state !== 'succeeded' ? faultOfRestore(restore.error) : null
  const restoreFault = lent?.kind === 'write' ? faultOfRestore(lent.reason) : lent === null ? jobFault : null
  return { ...common, status: fault === null ? 'available' : 'error', failReason: restoreFault ?? fault }
}

function isGood({ status, isDamaged }: BackupPoint): boolean {
  return status === 'good' && !isDamaged
}

function faultOf(newest: BackupPoint | undefined): string | null {
  if (newest === undefined) return 'it has no point: all were deleted'
  const { status, isDamaged, error, problemCount, problem } = newest
  if (status === 'failed') return error ?? 'its job failed'
  if (isDamaged) return 'its newest point was found damaged; an update makes another'
  if (status !== 'partial') return null
  const parts = problemCount === 1 ? '1 part of the volume' : `${problemCount} parts of the volume`
  return `${parts} could not be read: the newest point is partial${problem === null ? '' : ` (${problem})`}`
}

function faultOfRestore(error: string | null): string {
  return `the restore failed: ${error ?? 'its job was cancelled'}`
}

/** Of a job, the backup that it makes, reads or deletes a point of; each has a directory of its own. */
export function backupOfSeries(directory: string): string | undefined {
  return /(?:^|\/)volume-backup@([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(directory)?.[1]
}

export function backupSeries(id: string): string {
  return `volume-backup@${id}`
}

/** What a point in that directory is ordered for, where it is a backup's. */
export function backupTaskOf(directory: string | undefined, atMs: number): BackupTask | undefined {
  const id = directory === undefined ? undefined : backupOfSeries(directory)
  return id === undefined ? undefined : { kind: 'backup', id, atMs }
}
