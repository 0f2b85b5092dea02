import type { JobFailure, Progress } from '../../shared/job-event.ts'
import { isTerminal, type JobState } from '../../shared/job-machine.ts'
import type { ElementFailure, ExportBatch } from './exports.ts'

/** A batch's row with what its jobs' rows tell. */
export interface ExportBatchFacts {
  readonly id: string
  readonly groupId: string
  readonly type: 'create' | 'delete'
  readonly requested: number
  readonly createdAt: Date
  /** What was clear before any host was asked. */
  readonly done: readonly { readonly n: number; readonly volume: boolean }[]
  readonly errors: readonly ElementFailure[]
  readonly jobs: readonly ExportJobFacts[]
}

export interface ExportJobFacts {
  readonly id: string
  readonly host: string
  readonly state: JobState
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
  readonly progress: Progress | null
  readonly error: JobFailure | null
  readonly elements: number
  /** Of one that failed or was cancelled as a whole: all its elements. */
  readonly failed: readonly number[] | null
  readonly result: {
    readonly done: readonly number[]
    /** Of those. */
    readonly reused: readonly number[]
    readonly diverged: readonly number[]
    readonly errors: readonly ElementFailure[]
    readonly times: ExportBatch['times']
  } | null
  /** Elements whose volume is to be deleted. */
  readonly deleting: readonly number[] | null
}

/** What each type does, in its order; a job that does something else has not begun, as far as elements go. */
const PHASES = { create: ['clone', 'devices', 'targets'], delete: ['targets', 'clone'] } as const

/** How far a list is, over all its jobs. */
export function foldBatch(facts: ExportBatchFacts): ExportBatch {
  const { id, groupId, type, requested, createdAt, jobs } = facts
  const open = jobs.filter(({ state }) => !isTerminal(state))
  const order: readonly string[] = PHASES[type]
  const rankOf = ({ progress }: ExportJobFacts) => order.indexOf(progress?.phase ?? '')
  const rank = Math.min(...open.map(rankOf))
  const settled = facts.done.length + facts.errors.length
  const passed = ({ state, elements, progress, ...job }: ExportJobFacts) => {
    if (isTerminal(state)) return elements
    const own = rankOf({ state, elements, progress, ...job })
    return own > rank ? elements : rank < 0 ? 0 : Math.min(elements, progress?.elements ?? 0)
  }
  const times = jobs.flatMap(({ result }) => result?.times ?? [])
  const longest = (of: (one: ExportBatch['times']) => number) => Math.max(0, ...times.map(of))
  return {
    ...{ id, groupId, type, requested, createdAt },
    startedAt: jobs.length === 0 ? createdAt : earliest(jobs.map((job) => job.startedAt)),
    endedAt: open.length > 0 ? null : (latest(jobs.map((job) => job.finishedAt)) ?? createdAt),
    jobs: jobs.map((job) => ({
      ...{ id: job.id, host: job.host, state: job.state, phase: job.progress?.phase ?? null },
      finished: finishedOf(job),
      error: job.error?.message ?? null,
    })),
    phase: open.length === 0 ? 'ended' : (PHASES[type][rank] ?? 'pending'),
    passed: settled + sum(jobs.map(passed)),
    finished: settled + sum(jobs.map(finishedOf)),
    done: byNumber([
      ...facts.done.map(({ n, volume }) => ({ n, volume, reused: false, diverged: false })),
      ...jobs.flatMap((job) => doneOf(type, job)),
    ]),
    errors: byNumber([...facts.errors, ...jobs.flatMap(errorsOf)]),
    times: {
      cloneSeconds: longest((one) => one.cloneSeconds),
      deviceSeconds: longest((one) => one.deviceSeconds),
      targetSeconds: longest((one) => one.targetSeconds),
    },
  }
}

function finishedOf({ state, elements, progress }: ExportJobFacts): number {
  return isTerminal(state) ? elements : Math.min(elements, progress?.endedElements ?? 0)
}

function doneOf(type: ExportBatch['type'], { result, deleting }: ExportJobFacts): ExportBatch['done'] {
  if (result === null) return []
  const [reused, diverged, removed] = [result.reused, result.diverged, deleting ?? []].map((list) => new Set(list))
  return result.done.map((n) => ({
    n,
    volume: type === 'create' || removed?.has(n) === true,
    reused: reused?.has(n) === true,
    diverged: diverged?.has(n) === true,
  }))
}

/** Of a job that failed as a whole each of its elements did, for the job's reason. */
function errorsOf({ state, result, error, failed }: ExportJobFacts): readonly ElementFailure[] {
  if (state === 'succeeded') return result?.errors ?? []
  if (!isTerminal(state)) return []
  const { code, message } = error ?? { code: 'cancelled', message: 'the job was cancelled' }
  return (failed ?? []).map((n) => ({ n, code, message }))
}

function byNumber<One extends { readonly n: number }>(list: readonly One[]): readonly One[] {
  return list.toSorted((a, b) => a.n - b.n)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}

function earliest(dates: readonly (Date | null)[]): Date | null {
  return dates.reduce((first, one) => (first === null || (one !== null && one < first) ? one : first), null)
}

function latest(dates: readonly (Date | null)[]): Date | null {
  return dates.reduce((last, one) => (last === null || (one !== null && one > last) ? one : last), null)
}
