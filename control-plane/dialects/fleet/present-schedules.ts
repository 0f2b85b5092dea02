import type { ScheduleRun } from '../../core/runs.ts'
import type { RetentionPreview, Schedule } from '../../core/schedules.ts'
import { time } from './present.ts'
import type { RetentionView, RunView, ScheduleView } from './schedule-schemas.ts'

/** Progress and the next run are shown, and change without a new version. */
export function etagOfSchedule({ id, version, state }: Schedule): string {
  return `"${id}.${version}.${state.progress ?? ''}.${state.nextRun?.getTime() ?? ''}"`
}

export function presentSchedule(schedule: Schedule): ScheduleView {
  const { target, state } = schedule
  return {
    id: schedule.id,
    number: schedule.number,
    group_id: schedule.groupId,
    name: schedule.name,
    type: schedule.type,
    container: schedule.container,
    host: schedule.host,
    target: target && { id: target.id, name: target.name },
    path: schedule.path,
    at: schedule.at,
    timezone: schedule.timezone,
    disabled: schedule.disabled,
    retention: schedule.retention,
    features: [...schedule.features],
    state: {
      code: state.code,
      result: state.result,
      last_run: time(state.lastRun),
      next_run: time(state.nextRun),
      progress: state.progress,
    },
    created_at: schedule.createdAt.toISOString(),
  }
}

export function presentRun(run: ScheduleRun): RunView {
  return {
    id: run.id,
    schedule_id: run.scheduleId,
    trigger: run.trigger,
    due_at: run.dueAt.toISOString(),
    state: run.state,
    outcome: run.outcome,
    reason: run.reason,
    host: run.host,
    job_id: run.jobId,
    point_id: run.pointId,
    verify_job_id: run.verifyJobId,
    fired_at: time(run.firedAt),
    ended_at: time(run.endedAt),
  }
}

function presentPreviewed<Rule>(point: {
  readonly id: string
  readonly name: string
  readonly takenAt: Date
  readonly rule: Rule
  readonly why: string
}) {
  const { id, name, takenAt, rule, why } = point
  return { id, name, taken_at: takenAt.toISOString(), rule, why }
}

export function presentPreview({ delete: goes, keep, trashed }: RetentionPreview): RetentionView {
  return {
    delete: goes.map(presentPreviewed),
    keep: keep.map(presentPreviewed),
    trashed: trashed.map(({ id, name, trashedAt, removedAt }) => ({
      id,
      name,
      trashed_at: trashedAt.toISOString(),
      removed_at: removedAt.toISOString(),
    })),
  }
}
