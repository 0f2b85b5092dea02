import { isTerminal } from '../../shared/job-machine.ts'
import { RESULT_SCHEMAS } from '../../shared/job-spec.ts'
import type { InstanceSnapshotInfo } from './instance-captures.ts'
import type { JobChange } from './job-change.ts'

/** What becomes of a snapshot of an instance, and of the rows that its parts have elsewhere. */
export interface CaptureSettlement {
  readonly jobId: string
  /** Undefined: as it would be. */
  readonly consistency: InstanceSnapshotInfo['consistency']
  readonly failReason: string | null
  /** `removal`: it goes where none of its parts stays. */
  readonly act: 'made' | 'unmade' | 'removal'
  readonly parts: readonly PartSettlement[]
}

export type PartSettlement =
  | { readonly act: 'drop' | 'keep'; readonly kind: 'dataset' | 'volume'; readonly id: string }
  | {
      readonly act: 'made'
      readonly kind: 'dataset'
      readonly id: string
      readonly rootInode: number
      readonly mountpoint: string
      readonly fuzzy: boolean
    }
  | {
      readonly act: 'made'
      readonly kind: 'volume'
      readonly id: string
      readonly guid: string
      readonly sizeBytes: number
    }

export function concernsCaptures({ job, state }: Pick<JobChange, 'job' | 'state'>): boolean {
  return isTerminal(state) && (job.kind === 'instance.snapshot' || job.kind === 'instance.discard')
}

/** What the end of a job means; undefined for one that concerns none. */
export function captureSettlementOf(change: JobChange): CaptureSettlement | undefined {
  const { job, state } = change
  if (!isTerminal(state)) return undefined
  const good = state === 'succeeded'
  const why = change.error?.message ?? 'its job was cancelled'
  const { spec } = job
  if (spec.kind === 'instance.snapshot') {
    const made = good ? RESULT_SCHEMAS[spec.kind].parse(change.result) : undefined
    const parts = spec.parts.map((part, n): PartSettlement => {
      const id = part.kind === 'dataset' ? part.target.dataset : (part.snapshotId ?? '')
      const told = made?.parts[n]
      if (told === undefined || told.kind !== part.kind) return { act: 'drop', kind: part.kind, id }
      if (told.kind === 'volume') return { act: 'made', kind: 'volume', id, guid: told.guid, sizeBytes: told.sizeBytes }
      const { rootInode, mountpoint, atomic } = told
      // Whoever wrote to it stood still.
      const fuzzy = !atomic && made?.consistency === 'crash'
      return { act: 'made', kind: 'dataset', id, rootInode, mountpoint, fuzzy }
    })
    if (made === undefined) return { jobId: job.id, act: 'unmade', consistency: null, failReason: why, parts }
    return { jobId: job.id, act: 'made', consistency: made.consistency, failReason: null, parts }
  }
  if (spec.kind !== 'instance.discard') return undefined
  const { removed, error } = good
    ? RESULT_SCHEMAS[spec.kind].parse(change.result)
    : { removed: 0, error: { message: why } }
  const parts = spec.parts.map((part, n): PartSettlement => {
    const id = part.kind === 'dataset' ? part.place.dataset : (part.snapshotId ?? '')
    return { act: n < removed ? 'drop' : 'keep', kind: part.kind, id }
  })
  const failReason = error === null ? null : `it was not deleted: ${error.message}`
  return { jobId: job.id, act: 'removal', consistency: null, failReason, parts }
}
