import {
  isTerminalEvent,
  type JobEvent,
  type JobFailure,
  type JobReport,
  type Phase,
  type Progress,
} from '../../shared/job-event.ts'
import { isTerminal, type JobState, nextJobState } from '../../shared/job-machine.ts'
import { type JobKind, type JobSpec, RESULT_SCHEMAS } from '../../shared/job-spec.ts'
import type { PointMade, ReadablePoint } from '../../shared/point-spec.ts'
import type { AuditActor } from './audit.ts'

/** A job's row as a change is decided on it: locked, and read in the transaction that writes the change. */
export interface LockedJob {
  readonly id: string
  readonly groupId: string
  readonly kind: JobKind
  readonly spec: JobSpec
  readonly host: string
  readonly state: JobState
  readonly attempt: number
  readonly heardDelivery: number
  readonly heardSeq: number
  readonly announced: boolean
  readonly datasetId: string | null
  readonly datasetName: string | null
}

/** What one transaction does to one job. Absent members stay as they are. */
export interface JobChange {
  readonly job: LockedJob
  readonly state: JobState
  readonly attempt: number
  readonly heard?: { readonly delivery: number; readonly seq: number }
  /** When its agent began, by the agent's clock, and how long ago that was at the newest event: only the span is used. */
  readonly began?: { readonly at: number; readonly agoMs: number }
  readonly progress?: Progress
  readonly phases?: readonly Phase[]
  readonly result?: unknown
  readonly error?: JobFailure
  /** Set when the client was told that nothing happened, and the agent has yet to confirm it. */
  readonly withdrawn?: true
  /** It needs its source dataset no longer. */
  readonly released?: true
  /** Whoever asked for it; absent: its agent, or ourselves. */
  readonly by?: AuditActor
  /** The states passed through, in order, when more than the last. */
  readonly passed: readonly JobState[]
}

/** No job is tried more often than this; the last lost lease fails it. */
export const MAX_ATTEMPTS = 5

/**
 * Folds an agent's reports into a job. Reports of another attempt or host, and events heard before, change nothing.
 * @returns undefined when nothing applies (all normal: acknowledge and move on).
 */
export function applyReports(
  job: LockedJob,
  reports: readonly { readonly host: string; readonly report: JobReport }[],
): JobChange | undefined {
  let change: JobChange = { job, state: job.state, attempt: job.attempt, passed: [] }
  for (const { host, report } of reports) {
    if (host !== job.host || report.attempt !== job.attempt) continue
    for (const event of report.events) change = applyEvent(change, report.delivery, event)
  }
  return change.heard === undefined ? undefined : change
}

function applyEvent(change: JobChange, delivery: number, event: JobEvent): JobChange {
  const heard = change.heard ?? { delivery: change.job.heardDelivery, seq: change.job.heardSeq }
  // An end is always news: an agent that lost its journal counts from the beginning again.
  const isHeard = delivery < heard.delivery || (delivery === heard.delivery && event.seq <= heard.seq)
  if (isHeard && !isTerminalEvent(event)) return change
  // A result that is not of its kind's shape is a bug of the agent: the job did not provably succeed.
  const checked = event.type === 'succeed' ? checkResult(change.job.kind, event) : event
  if (checked.type === 'release')
    return isTerminal(change.state) ? change : { ...change, released: true, heard: { delivery, seq: event.seq } }
  const state = nextJobState(change.state, checked.type)
  if (state === undefined) return change
  const passed = state === change.state ? change.passed : [...change.passed, state]
  const beganAt = event.type === 'start' ? event.at : change.began?.at
  const began = beganAt === undefined ? {} : { began: { at: beganAt, agoMs: Math.max(0, event.at - beganAt) } }
  const next = { ...change, state, passed, heard: { delivery, seq: event.seq }, ...began }
  switch (checked.type) {
    case 'start':
      return next
    case 'progress':
      return { ...next, progress: checked.progress }
    case 'succeed':
      return { ...next, result: checked.result, phases: checked.phases }
    case 'fail':
      return { ...next, error: checked.error, phases: checked.phases }
    case 'stop':
      return { ...next, phases: checked.phases }
  }
}

function checkResult(kind: JobKind, event: Extract<JobEvent, { type: 'succeed' }>): JobEvent {
  const parsed = RESULT_SCHEMAS[kind].safeParse(event.result)
  if (parsed.success) return { ...event, result: parsed.data }
  const error: JobFailure = { code: 'internal', message: 'the agent reported success without a usable result' }
  return { type: 'fail', seq: event.seq, at: event.at, error, phases: event.phases }
}

/** A lost lease: back to the queue under a new attempt, or failed when that was the last. Undefined: not applicable. */
export function expireJob(job: LockedJob): JobChange | undefined {
  const state = nextJobState(job.state, 'expire')
  if (state === undefined || state === job.state) return undefined
  if (job.attempt < MAX_ATTEMPTS) return { job, state, attempt: job.attempt + 1, passed: [state] }
  const message = `the host stopped reporting ${MAX_ATTEMPTS} times while it worked on this`
  return { job, state: 'failed', attempt: job.attempt, error: { code: 'unavailable', message }, passed: ['failed'] }
}

/** Somebody asked it to stop, and its host has been away for long since. Undefined: not applicable. */
export function giveUpCancelled(job: LockedJob): JobChange | undefined {
  const state = job.state === 'cancelling' ? nextJobState(job.state, 'stop') : undefined
  if (state === undefined) return undefined
  const message =
    'the job was cancelled, and its host is away for long; what it has begun there is undone when the host is back'
  return { job, state, attempt: job.attempt, error: { code: 'cancelled', message }, passed: [state] }
}

/** It cannot be sent as it is, however often that is tried. Undefined: it has begun, ended, or become another attempt meanwhile. */
export function failUnsent(job: LockedJob, attempt: number, error: JobFailure): JobChange | undefined {
  if (job.attempt !== attempt || job.state === 'running') return undefined
  const state = nextJobState(job.state, 'fail')
  if (state === undefined) return undefined
  return { job, state, attempt, error, passed: [state] }
}

/** Somebody asks it to stop. Undefined: it has ended, or was asked before. */
export function cancelJob(job: LockedJob, error: JobFailure, withdrawn: boolean): JobChange | undefined {
  // Back in the queue after a lost lease: its agent may still work on it, and must confirm.
  const wasSent = job.state === 'queued' && job.attempt > 1
  const state = wasSent ? 'cancelling' : nextJobState(job.state, 'cancel')
  if (state === undefined) return undefined
  return {
    job,
    state,
    attempt: job.attempt,
    error,
    passed: [state],
    ...(withdrawn ? { withdrawn: true as const } : {}),
  }
}

/** The job as the change leaves it. A new attempt has not been heard of yet. */
export function afterChange(change: JobChange): LockedJob {
  const isNewAttempt = change.attempt !== change.job.attempt
  const heard = change.heard ?? { delivery: change.job.heardDelivery, seq: change.job.heardSeq }
  return {
    ...change.job,
    state: change.state,
    attempt: change.attempt,
    announced: true,
    heardDelivery: isNewAttempt ? 0 : heard.delivery,
    heardSeq: isNewAttempt ? 0 : heard.seq,
  }
}

/** How the dataset that a job makes or deletes ends up. */
export type Settlement =
  | {
      readonly act: 'made'
      readonly id: string
      readonly rootInode: number
      readonly mountpoint: string
      readonly fuzzy: boolean
    }
  | { readonly act: 'drop'; readonly id: string }
  | { readonly act: 'keep'; readonly id: string }

/** What the end of a job means for its dataset; undefined when it has not ended, or none is concerned. */
export function settlementOf(change: JobChange): Settlement | undefined {
  const { kind, datasetId, spec } = change.job
  if (!isTerminal(change.state) || datasetId === null) return undefined
  const good = change.state === 'succeeded'
  switch (kind) {
    case 'snapshot.restore':
    case 'point.create':
    case 'point.verify':
    case 'point.rehearse':
    case 'point.delete':
    case 'point.trash':
    case 'point.untrash':
    case 'instance.start':
    case 'instance.stop':
    case 'instance.snapshot':
    case 'instance.discard':
      return undefined
    case 'point.restore': {
      if (spec.kind !== kind) return undefined
      const { destination } = spec
      const made = good ? RESULT_SCHEMAS[kind].parse(change.result).made : undefined
      // All that a dataset held was replaced: it has another root.
      if (destination.kind === 'dataset') return made && { act: 'made', id: datasetId, ...made, fuzzy: false }
      // One that is there already is only brought up to date.
      if (destination.kind === 'instance' ? destination.update !== null : destination.kind !== 'new') return undefined
      return made ? { act: 'made', id: datasetId, ...made, fuzzy: false } : { act: 'drop', id: datasetId }
    }
    case 'dataset.delete':
      return { act: good ? 'drop' : 'keep', id: datasetId }
    case 'dataset.create':
    case 'dataset.clone':
    case 'snapshot.create':
    case 'instance.clone': {
      if (!good) return { act: 'drop', id: datasetId }
      const made = RESULT_SCHEMAS[kind].parse(change.result)
      return { act: 'made', id: datasetId, rootInode: made.rootInode, mountpoint: made.mountpoint, fuzzy: !made.atomic }
    }
  }
}

/** How the point that a job makes, checks or deletes ends up. Absent members stay as they are. */
export interface PointSettlement {
  readonly id: string
  readonly drop?: true
  /** A deletion that did not succeed. */
  readonly kept?: true
  /** Where it lies now: in the target's trash, or in its series again. */
  readonly moved?: 'trash' | 'series'
  readonly status?: 'good' | 'partial' | 'failed'
  readonly made?: PointMade
  readonly error?: JobFailure
  readonly verified?: true
  readonly rehearsedSeconds?: number
  /** Paths of damaged members: the first hundred. */
  readonly damage?: readonly string[]
}

/** What the end of a job means for its point and those that it rests on; none when it has not ended. */
export function pointSettlementsOf(change: JobChange): readonly PointSettlement[] {
  const { spec } = change.job
  if (!isTerminal(change.state) || !('pointId' in spec)) return []
  const id = spec.pointId
  const good = change.state === 'succeeded'
  switch (spec.kind) {
    case 'point.create': {
      if (!good) return [{ id, status: 'failed', error: change.error ?? { code: 'cancelled', message: 'cancelled' } }]
      const made = RESULT_SCHEMAS[spec.kind].parse(change.result)
      return [{ id, status: made.problemCount > 0 ? 'partial' : 'good', made }]
    }
    case 'point.verify':
      // Its bases were read with it.
      return good ? spec.chain.map((point) => ({ id: point.id, verified: true })) : damageOf(spec, change.error)
    case 'point.rehearse':
      if (!good) return damageOf(spec, change.error)
      return [{ id, rehearsedSeconds: RESULT_SCHEMAS[spec.kind].parse(change.result).seconds }]
    case 'point.delete':
      return [good ? { id, drop: true } : { id, kept: true }]
    case 'point.trash':
    case 'point.untrash':
      // Of one that failed nobody knows where it lies: another order finds it in either place.
      return good ? [{ id, moved: spec.kind === 'point.trash' ? 'trash' : 'series' }] : []
    case 'point.restore':
    case 'volume.restore':
    case 'lun.restore':
      return good ? [] : damageOf(spec, change.error)
  }
}

/** The point that was read is damaged, and the one among its bases whose archive it is. */
function damageOf({ pointId, chain }: ReadablePoint, error: JobFailure | undefined): readonly PointSettlement[] {
  if (error?.code !== 'corrupt') return []
  const { members = [], points = [] } = error
  return chain.flatMap(({ id }) => (id === pointId || points.includes(id) ? [{ id, damage: members }] : []))
}

/** How the instance that a job makes, starts or stops ends up. */
export type InstanceSettlement =
  /** The one that the job made, or made anew, if it did. */
  | { readonly act: 'made'; readonly ref: string; readonly state: 'RUNNING' | 'STOPPED' }
  | { readonly act: 'unmade' }
  | { readonly act: 'turned'; readonly id: string; readonly state: 'RUNNING' | 'STOPPED' }

/** What the end of a job means for its instance; undefined when it has not ended, or none is concerned. */
export function instanceSettlementOf(change: JobChange): InstanceSettlement | undefined {
  const { spec } = change.job
  if (!isTerminal(change.state)) return undefined
  const good = change.state === 'succeeded'
  switch (spec.kind) {
    case 'instance.start':
    case 'instance.stop': {
      if (!good || spec.instanceId === undefined) return undefined
      const state = spec.kind === 'instance.start' ? 'RUNNING' : 'STOPPED'
      return { act: 'turned', id: spec.instanceId, state }
    }
    case 'instance.clone': {
      if (!good) return { act: 'unmade' }
      const { made } = RESULT_SCHEMAS[spec.kind].parse(change.result)
      return { act: 'made', ref: made.instance, state: spec.start ? 'RUNNING' : 'STOPPED' }
    }
    case 'point.restore': {
      if (spec.destination.kind !== 'instance') return undefined
      const made = good ? RESULT_SCHEMAS[spec.kind].parse(change.result).instance : undefined
      if (made === undefined) return { act: 'unmade' }
      return { act: 'made', ref: made.instance, state: spec.destination.start ? 'RUNNING' : 'STOPPED' }
    }
    default:
      return undefined
  }
}
