import type { RestoreTask, RestoreTaskCondition } from '../../core/restore-tasks.ts'
import type { Schedule, ScheduleCondition } from '../../core/schedules.ts'
import type { BackupView, RestoreView } from './backup-schemas.ts'
import { zonedTime } from './present.ts'

const MS = 1000

/** Progress and the next run are shown, and change without a new version. */
export function etagOfBackup({ number, version, state }: Schedule): string {
  return `"backup-${number}.${version}.${state.progress ?? ''}.${state.nextRun?.getTime() ?? ''}"`
}

export function etagOfRestore({ number, version, state }: RestoreTask): string {
  return `"restore-${number}.${version}.${state.progress ?? ''}"`
}

type IfMatch = ((etag: string) => boolean) | undefined

export function expectingBackup(ifMatch: IfMatch): ScheduleCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOfBackup(current)))
}

export function expectingRestore(ifMatch: IfMatch): RestoreTaskCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOfRestore(current)))
}

function placeOf(target: Schedule['target'], path: string) {
  return target === null
    ? { path, target: 'local' as const }
    : { path, profile: target.number, target: 'remote' as const }
}

function stateOf({ state, timezone }: Schedule): BackupView['state'] {
  const { code, lastRun, nextRun, progress, result } = state
  return {
    code,
    ...(lastRun === null ? {} : { last_run: zonedTime(lastRun, timezone) }),
    ...(nextRun === null ? {} : { next_run: zonedTime(nextRun, timezone) }),
    ...(progress === null ? {} : { progress }),
    ...(result === null ? {} : { result }),
  }
}

export function presentBackup(schedule: Schedule): BackupView {
  return {
    at: schedule.at,
    container_id: schedule.container,
    dest: placeOf(schedule.target, schedule.path),
    disable: schedule.disabled,
    features: [...schedule.features],
    ...(schedule.host === null ? {} : { host: schedule.host }),
    id: schedule.number,
    job_name: schedule.name,
    retention: schedule.retention,
    state: stateOf(schedule),
    type: schedule.type,
  }
}

function epoch(at: Date): number {
  return Math.floor(at.getTime() / MS)
}

/** @param timezone a restore has none of its own. */
export function presentRestore({ source, state, ...task }: RestoreTask, timezone: string): RestoreView {
  return {
    container_id: task.container,
    disable: task.disabled,
    ...(task.host === null ? {} : { host: task.host }),
    id: task.number,
    src: { ...placeOf(source.target, source.path), portfolio: source.portfolio },
    ...(task.start ? { start: true } : {}),
    state: {
      code: state.code,
      ...(state.end === null ? {} : { end: epoch(state.end) }),
      ...(state.lastRun === null ? {} : { last_run: zonedTime(state.lastRun, timezone) }),
      ...(state.progress === null ? {} : { progress: state.progress }),
      ...(state.reason === null ? {} : { reason: state.reason }),
      ...(state.result === null ? {} : { result: state.result }),
      ...(state.start === null ? {} : { start: epoch(state.start) }),
    },
    type: task.type,
  }
}
