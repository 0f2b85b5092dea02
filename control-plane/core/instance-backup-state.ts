import type { Held } from '../../shared/instance-spec.ts'
import type { Progress } from '../../shared/job-event.ts'
import type { InstanceBackupInfo } from './instance-captures.ts'
import type { InstanceBackupTask } from './orders.ts'
import { percentShown } from './percent-shown.ts'

/** One as its row is made, in the transaction that orders its first point. */
export interface NewInstanceBackup
  extends Pick<InstanceBackupInfo, 'id' | 'groupId' | 'name' | 'instanceId' | 'instance' | 'isIncremental'> {
  readonly targetId: string | null
}

/** A point of the instance itself. */
export interface RootPoint {
  readonly id: string
  readonly status: 'running' | 'good' | 'partial' | 'failed'
  /** It goes, or is trashed. */
  readonly isGoing: boolean
  readonly isDamaged: boolean
  readonly sourceBytes: number
  readonly consistency: 'crash' | 'fuzzy' | null
  readonly held: Held | null
  readonly error: string | null
  readonly problemCount: number
  /** Of its job, while that goes on. */
  readonly progress: Progress | null
}

export interface VolumePart {
  readonly id: string
  readonly volumeId: string
  readonly volume: string
  readonly sizeBytes: number
  readonly status: InstanceBackupInfo['status']
  readonly failReason: string | null
  readonly progress: Progress | null
}

/** A volume of which no backup could be ordered. */
export interface MissingPart {
  readonly volumeId: string
  readonly volume: string
  readonly error: string
}

export interface InstanceBackupFacts {
  readonly instanceId: string
  readonly isDeleting: boolean
  /** Parts are still being ordered; `late`: whoever did that has died over it. */
  readonly ordering: 'no' | 'yes' | 'late'
  /** A snapshot of all that it is made of is still being taken, or its parts are being ordered from that. */
  readonly isCapturing: boolean
  /** Of that snapshot. */
  readonly captured: InstanceBackupInfo['consistency']
  /** Why it is still there although it goes, or why its parts could not be ordered. */
  readonly failReason: string | null
  /** When the newest point was asked for. */
  readonly askedState: string
  readonly missing: readonly MissingPart[]
  /** Oldest first. */
  readonly points: readonly RootPoint[]
  readonly volumes: readonly VolumePart[]
}

type State = Pick<InstanceBackupInfo, 'status' | 'failReason' | 'consistency' | 'progressPercent' | 'parts'>

const DONE_PERCENT = 100

/** What a backup of an instance is: made of its points and of the backups of its volumes whenever it is read. */
export function instanceBackupState(facts: InstanceBackupFacts): State {
  const newest = facts.points.findLast(({ isGoing }) => !isGoing)
  const rootFault = faultOf(newest)
  const root = {
    ...({ kind: 'root', id: newest?.id ?? facts.instanceId, sourceId: facts.instanceId } as const),
    sizeBytes: newest?.sourceBytes ?? 0,
    status: newest?.status === 'running' ? 'creating' : rootFault === null ? 'available' : 'error',
  } as const
  const parts = [
    root,
    ...facts.volumes.map(({ id, volumeId: sourceId, sizeBytes, status }) => {
      return { kind: 'volume', id, sourceId, sizeBytes, status } as const
    }),
  ]
  const told = { parts, consistency: consistencyOf(facts, newest) }
  if (facts.isDeleting) return { ...told, status: 'deleting', failReason: facts.failReason, progressPercent: null }
  const isAny = (status: State['status']) => parts.some((part) => part.status === status)
  if (isAny('creating') || facts.ordering === 'yes' || facts.isCapturing)
    return { ...told, status: 'creating', failReason: null, progressPercent: percentOf(facts, newest) }
  if (isAny('restoring')) return { ...told, status: 'restoring', failReason: null, progressPercent: null }
  const fault = facts.failReason ?? rootFault ?? otherFault(facts)
  return { ...told, status: fault === null ? 'available' : 'error', failReason: fault, progressPercent: null }
}

function faultOf(newest: RootPoint | undefined): string | null {
  if (newest === undefined) return 'it has no point of the instance: all were deleted'
  const { status, isDamaged, error, problemCount, consistency } = newest
  if (status === 'running') return null
  if (status === 'failed') return error ?? 'its job failed'
  if (isDamaged) return 'its newest point was found damaged; an update makes another'
  if (status === 'partial') return `${problemCount} of its files could not be read: the newest point is partial`
  return consistency === 'fuzzy' ? 'the instance moved while it was read: its files may be of different moments' : null
}

function otherFault({ ordering, missing, volumes }: InstanceBackupFacts): string | null {
  if (ordering === 'late') return 'it was interrupted while its parts were ordered: update it, or delete it'
  const [first] = missing
  if (first !== undefined) return `no backup of '${first.volume}' could be ordered: ${first.error}`
  const broken = volumes.find(({ status }) => status !== 'available')
  return broken === undefined ? null : `the backup of '${broken.volume}': ${broken.failReason ?? broken.status}`
}

/** Several parts are each of a moment of their own, unless they were read from one snapshot: then the instance was not held for its point. */
function consistencyOf(
  { volumes, askedState, captured }: InstanceBackupFacts,
  newest: RootPoint | undefined,
): State['consistency'] {
  if (newest === undefined || newest.status === 'running' || newest.status === 'failed') return null
  if (newest.consistency !== 'crash' || newest.held?.intact === false) return 'crash'
  if (volumes.length > 0) return newest.held === null && captured !== null ? captured : 'crash'
  return newest.held === null && askedState === 'STOPPED' ? 'stopped' : 'frozen'
}

/** Of all parts together, as if they were equally much work; null where nobody knows of one that goes on. */
function percentOf({ volumes }: InstanceBackupFacts, newest: RootPoint | undefined): number | null {
  const root = newest?.status === 'running' ? percentShown(newest.progress) : DONE_PERCENT
  const others = volumes.map(({ status, progress }) => (status === 'creating' ? percentShown(progress) : DONE_PERCENT))
  const all = [root, ...others]
  if (all.some((percent) => percent < 0)) return null
  return Math.min(DONE_PERCENT - 1, Math.floor(all.reduce((sum, percent) => sum + percent, 0) / all.length))
}

/** Of a job, the backup of an instance that it makes, reads or deletes a point of; each has a directory of its own. */
export function instanceBackupOfSeries(directory: string): string | undefined {
  return /(?:^|\/)instance-backup@([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(directory)?.[1]
}

export function instanceBackupSeries(id: string): string {
  return `instance-backup@${id}`
}

/** What a point in that directory is ordered for, where it is a backup's. */
export function instanceBackupTaskOf(directory: string | undefined, atMs: number): InstanceBackupTask | undefined {
  const id = directory === undefined ? undefined : instanceBackupOfSeries(directory)
  return id === undefined ? undefined : { kind: 'instance-backup', id, atMs }
}
