import { z } from 'zod'
import { ERROR_CODES } from '../../../shared/errors.ts'
import { HostName } from '../../../shared/ids.ts'
import { InstanceType } from '../../../shared/instance-spec.ts'
import { JobFailure, Phase, Progress } from '../../../shared/job-event.ts'
import { JobState } from '../../../shared/job-machine.ts'
import { JobSpec } from '../../../shared/job-spec.ts'
import { DriverName } from '../../../shared/wire/messages.ts'

const PAGE_DEFAULT = 50
const PAGE_MAX = 500

/** Query values are text: an empty one counts as absent. */
function digits(minimum: number, maximum: number) {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(minimum, `must be at least ${minimum}`).max(maximum, `must be at most ${maximum}`))
    .meta({
      override: ({ jsonSchema }) => {
        delete jsonSchema.pattern
        Object.assign(jsonSchema, { type: 'integer', minimum, maximum })
      },
    })
}

export const PageQuery = z.object({
  limit: digits(1, PAGE_MAX)
    .optional()
    .transform((limit) => limit ?? PAGE_DEFAULT),
  cursor: z.string().min(1).max(500).optional().meta({ description: '`next_cursor` of the page before' }),
})

const JOB_KINDS = JobSpec.options.map((option) => option.shape.kind.value)

const StateList = z
  .string()
  .transform((text) => text.split(','))
  .pipe(z.array(JobState))
  .meta({
    override: { type: 'string' },
    description: 'One or more states, with commas between',
    example: 'queued,running',
  })

export const JobQuery = PageQuery.extend({
  state: StateList.optional(),
  kind: z.enum(JOB_KINDS).optional(),
  host: z.string().min(1).optional().meta({ description: "A host's name" }),
  dataset: z.string().min(1).optional().meta({ description: "A dataset's name" }),
})

const SEQ_MAX = Number.MAX_SAFE_INTEGER

export const FeedQuery = z.object({
  since: digits(0, SEQ_MAX).optional().meta({ description: 'The last `seq` that was seen; default: from now on' }),
})

const POLL_DEFAULT_S = 30
const POLL_MAX_S = 60
const EVENTS_MAX = 1000

export const PollQuery = FeedQuery.extend({
  timeout: digits(0, POLL_MAX_S)
    .optional()
    .transform((seconds) => seconds ?? POLL_DEFAULT_S),
  limit: digits(1, EVENTS_MAX)
    .optional()
    .transform((limit) => limit ?? EVENTS_MAX),
})

export const IdOrName = z.object({ id: z.string().min(1).meta({ description: 'A uuid or a name' }) })
export const JobId = z.object({ id: z.uuid() })

export const Timestamp = z.iso.datetime()

export const PoolView = z.object({
  id: z.uuid(),
  name: z.string(),
  host: z.string(),
  driver: DriverName,
  capabilities: z.object({ cow: z.boolean(), atomic: z.boolean(), enforces_readonly: z.boolean() }),
  size_bytes: z.number(),
  free_bytes: z.number(),
})
export type PoolView = z.infer<typeof PoolView>

export const HostView = z.object({
  id: z.uuid(),
  name: z.string(),
  state: z.enum(['online', 'offline']),
  draining: z.boolean(),
  version: z.string(),
  slots: z.number().int(),
  restore_paths: z
    .array(z.string())
    .meta({ description: 'Where restores may write outside of datasets; for those with a role over the fleet' }),
  source_paths: z
    .array(z.string())
    .meta({ description: 'Directories that may be backed up; for those with a role over the fleet' }),
  backup_root: z
    .string()
    .nullable()
    .meta({ description: 'Where points without a target lie; for admins of the fleet' }),
  last_seen_at: Timestamp.nullable(),
  credential_expires_at: Timestamp.nullable().meta({
    description:
      'Until when NATS lets it in, unless it renews; null: it has no credentials, or NATS is not ours to issue them for',
  }),
  pools: z.array(PoolView),
  instance_problems: z.array(z.object({ type: InstanceType, message: z.string() })).meta({
    description: 'Why its instances are told as they were before; for those with a role over the fleet',
  }),
})
export type HostView = z.infer<typeof HostView>

const ENROLMENT_MAX_S = 7 * 86_400

export const EnrolmentBody = z.object({
  name: HostName,
  expires_in_seconds: z
    .number()
    .int()
    .min(1)
    .max(ENROLMENT_MAX_S)
    .optional()
    .meta({ description: 'An hour unless said' }),
})

export const EnrolmentView = z.object({
  id: z.uuid(),
  name: z.string(),
  token: z.string().meta({ description: 'Shown this once; empty in a repeat under the same Idempotency-Key' }),
  expires_at: Timestamp,
  replaces: z.boolean(),
})

export const RemovalQuery = z.object({ force: z.enum(['true', 'false']).optional() })
export const RemovalView = z.object({
  id: z.uuid(),
  name: z.string(),
  failed_jobs: z.number().int(),
  forgotten_datasets: z.number().int(),
})

const ProgressView = Progress.pick({ phase: true, files: true, bytes: true }).extend({
  total_files: z.number().int().optional(),
  total_bytes: z.number().int().optional(),
  bytes_per_second: z.number().optional(),
  seconds_left: z.number().optional().meta({ description: 'Estimated; absent where nobody can tell' }),
})
export type ProgressView = z.infer<typeof ProgressView>

export const JobView = z.object({
  id: z.uuid(),
  kind: z.enum(JOB_KINDS),
  state: JobState,
  progress: ProgressView.nullable(),
  percent: z.number().min(0).max(100).nullable(),
  phases: z.array(Phase),
  error: JobFailure.nullable(),
  host: z.string(),
  attempt: z.number().int(),
  dataset: z.object({ id: z.uuid(), name: z.string() }).nullable(),
  instance_id: z.uuid().nullable().meta({ description: 'The instance that it makes, starts or stops' }),
  result: z.unknown().meta({
    description: 'What came of it; of jobs about exports only where one job is asked for: their batch tells more',
  }),
  retry_of: z.uuid().nullable(),
  created_by: z.string(),
  created_at: Timestamp,
  started_at: Timestamp.nullable(),
  finished_at: Timestamp.nullable(),
})
export type JobView = z.infer<typeof JobView>

export const EventView = z.looseObject({ seq: z.number().int(), type: z.string(), at: Timestamp }).meta({
  description: 'One numbered fact about the fleet. Superseded progress is dropped, so numbers may skip.',
})

export function pageOf(item: z.ZodType) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() })
}

export const HostPage = pageOf(HostView)
export const PoolPage = pageOf(PoolView)
export const JobPage = pageOf(JobView)
export const EventPage = z.object({
  items: z.array(EventView),
  next_cursor: z.number().int().meta({ description: 'The next `since`, also when nothing happened' }),
})

export const Alive = z.object({ status: z.literal('ok') })
export const Readiness = z.object({ postgres: z.boolean(), nats: z.boolean(), ingest: z.boolean() })
export type Readiness = z.infer<typeof Readiness>

export const FleetErrorBody = z.object({
  error: z.object({
    code: z.enum([...ERROR_CODES, 'method_not_allowed', 'key_reused']),
    message: z.string(),
    field: z.string().optional(),
    blockers: z.array(z.string()).optional(),
  }),
})
