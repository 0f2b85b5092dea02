import { z } from 'zod'
import { DELETE_REASONS, type DeleteRule, KEEP_REASONS, type KeepRule } from '../../core/retention-reasons.ts'
import { RUN_OUTCOMES } from '../../core/runs.ts'
import { FEATURES, SOURCE_TYPES, STATE_CODES } from '../../core/schedules.ts'
import { PageQuery, pageOf, Timestamp } from './schemas.ts'

const IDS_MAX = 100

export const ScheduleId = z.object({
  id: z
    .string()
    .min(1)
    .max(IDS_MAX)
    .meta({ description: "A uuid, or the number that the Container Station's dialect shows" }),
})

export const ScheduleView = z.object({
  id: z.uuid(),
  number: z.number().int().meta({ description: '`id` at `/api/v1/backup/`, where schedules are made and changed' }),
  group_id: z.uuid(),
  name: z.string(),
  type: z.enum(SOURCE_TYPES),
  container: z.string().meta({ description: "A dataset's or container's name, or an absolute directory" }),
  host: z.string().nullable().meta({ description: 'Null: wherever the dataset or container is' }),
  target: z.object({ id: z.uuid(), name: z.string() }).nullable().meta({ description: "Null: the host's backup root" }),
  path: z.string().meta({ description: "Below the target's base" }),
  at: z.looseObject({ repeat: z.string(), start: z.number() }),
  timezone: z.string(),
  disabled: z.boolean(),
  retention: z.number().int().meta({ description: 'How many good points stay; 0: all' }),
  features: z.array(z.enum(FEATURES)),
  state: z.object({
    code: z.enum(STATE_CODES),
    result: z
      .number()
      .int()
      .nullable()
      .meta({ description: '0 good, −1 failed, −2 stopped; of the last run that ended' }),
    last_run: Timestamp.nullable(),
    next_run: Timestamp.nullable(),
    progress: z.number().int().min(-1).max(99).nullable(),
  }),
  created_at: Timestamp,
})
export type ScheduleView = z.infer<typeof ScheduleView>

export const SchedulePage = pageOf(ScheduleView)

const Moment = z.iso
  .datetime({ offset: true, error: 'must be a time like 2026-01-31T00:00:00Z' })
  .transform((text) => new Date(text))
  .meta({ override: { type: 'string', format: 'date-time' } })

export const RunQuery = PageQuery.extend({
  outcome: z.enum(RUN_OUTCOMES).optional(),
  since: Moment.optional().meta({ description: 'Due then or later' }),
  until: Moment.optional().meta({ description: 'Due then or earlier' }),
})

/** One row of the ledger. */
export const RunView = z.object({
  id: z.uuid(),
  schedule_id: z.uuid(),
  trigger: z.enum(['due', 'early', 'manual']),
  due_at: Timestamp.meta({ description: "The calendar's instant; of a manual run when it was asked for" }),
  state: z.enum(['waiting', 'running', 'ended']),
  outcome: z.enum(RUN_OUTCOMES).nullable(),
  reason: z.string().nullable().meta({ description: 'Why it was missed, skipped, failed, or waits' }),
  host: z.string().nullable(),
  job_id: z.uuid().nullable(),
  point_id: z.uuid().nullable(),
  verify_job_id: z.uuid().nullable(),
  fired_at: Timestamp.nullable(),
  ended_at: Timestamp.nullable(),
})
export type RunView = z.infer<typeof RunView>

export const RunPage = pageOf(RunView)

/** As: `Object.keys` forgets of which record the names are. */
const KEEP_RULES = Object.keys(KEEP_REASONS) as KeepRule[]
const DELETE_RULES = Object.keys(DELETE_REASONS) as DeleteRule[]

const Previewed = z.object({
  id: z.uuid(),
  name: z.string().meta({ example: '20260131T235959Z' }),
  taken_at: Timestamp,
  why: z.string(),
})

export const RetentionView = z.object({
  delete: z.array(Previewed.extend({ rule: z.enum(DELETE_RULES) })),
  keep: z.array(Previewed.extend({ rule: z.enum(KEEP_RULES) })),
  trashed: z
    .array(z.object({ id: z.uuid(), name: z.string(), trashed_at: Timestamp, removed_at: Timestamp }))
    .meta({ description: 'Deleted by earlier runs; `POST /api/v1/points/{id}/untrash` takes one back' }),
})
export type RetentionView = z.infer<typeof RetentionView>
