import { decideRetention, type RetentionDecision } from './retention.ts'
import type { KeptForPrune, SeriesPoint } from './schedule-store.ts'
import type { RetentionPreview } from './schedules.ts'

/** What goes and what stays of the points that are not trashed yet. A schedule whose newest run was not good loses nothing. */
export function pruneOf(schedule: KeptForPrune, points: readonly SeriesPoint[], nowMs: number): RetentionDecision {
  const { retention, at, timezone, state } = schedule
  return decideRetention({
    points: points.filter(({ trashedAt }) => trashedAt === null),
    retention,
    keep: at.keep,
    timezone,
    nowMs,
    newestRunGood: state.result === null || state.result === 0,
  })
}

export function previewOf(schedule: KeptForPrune, points: readonly SeriesPoint[], nowMs: number): RetentionPreview {
  const decision = pruneOf(schedule, points, nowMs)
  const byId = new Map(points.map((point) => [point.id, point]))
  const told = <Rule>({ id, rule, why }: { readonly id: string; readonly rule: Rule; readonly why: string }) => {
    const point = byId.get(id)
    return { id, name: point?.name ?? '', takenAt: new Date(point?.takenAtMs ?? 0), rule, why }
  }
  return {
    delete: decision.delete.map(told),
    keep: decision.keep.map(told),
    trashed: points.flatMap(({ id, name, trashedAt, purgeAt, isReturning }) =>
      trashedAt === null || isReturning ? [] : [{ id, name, trashedAt, removedAt: purgeAt ?? trashedAt }],
    ),
  }
}
