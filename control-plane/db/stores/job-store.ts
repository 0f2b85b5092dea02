import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { JobFailure, Phase, Progress } from '../../../shared/job-event.ts'
import { isTerminal, JobState } from '../../../shared/job-machine.ts'
import { JobSpec } from '../../../shared/job-spec.ts'
import { type JobEnd, type JobReader, jobVersion, type KeptJob } from '../../core/jobs.ts'
import { type Sql, statement } from '../sql.ts'

const columns = (spec: string, result: string) =>
  `j.id, j.ordinal, j.group_id, j.request, ${spec}, j.state, h.name as host, j.attempt, j.heard_delivery, j.heard_seq, j.progress, j.phases, j.error,
  ${result}, j.dataset_id, j.dataset_name, j.retry_of, j.created_by, j.created_at, j.started_at, j.finished_at`
const COLUMNS = columns('j.spec', 'j.result')
/** Orders about exports are lists of up to a thousand elements: in a page of jobs they are left out. */
const LISTED_COLUMNS = columns(
  "case when j.kind like 'export.%' then jsonb_build_object('kind', j.kind) else j.spec end as spec",
  "case when j.kind not like 'export.%' then j.result end as result",
)

const bigint = z.coerce.number()

const JobRow = z.object({
  id: z.string(),
  ordinal: bigint,
  group_id: z.string(),
  request: z.unknown(),
  spec: JobSpec,
  state: JobState,
  host: z.string(),
  attempt: z.number(),
  heard_delivery: z.number(),
  heard_seq: z.number(),
  progress: Progress.nullable(),
  phases: z.array(Phase),
  error: JobFailure.nullable(),
  result: z.unknown(),
  dataset_id: z.string().nullable(),
  dataset_name: z.string().nullable(),
  retry_of: z.string().nullable(),
  created_by: z.string(),
  created_at: z.date(),
  started_at: z.date().nullable(),
  finished_at: z.date().nullable(),
})

const ListedRow = JobRow.extend({
  spec: z.union([
    JobSpec,
    z.object({ kind: z.enum(['export.create', 'export.delete']) }).transform(({ kind }) => ({ kind, elements: [] })),
    z.object({ kind: z.literal('export.reconcile') }).transform(({ kind }) => ({ kind, exports: [] })),
  ]),
})

const find = statement(
  'job_find',
  JobRow,
  `select ${COLUMNS} from job j join host h on h.id = j.host_id where ($1::uuid is null or j.group_id = $1) and j.id = $2`,
)

/** Newest first. Each filter is null when it was not asked for. Plans are generic, so each index has its own statement. */
const listOf = (name: string, whose: string) =>
  statement(
    name,
    ListedRow,
    `select ${LISTED_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where ${whose}
     and ($2::bigint is null or j.ordinal < $2)
     and ($3::text[] is null or j.state = any($3))
     and ($4::text is null or j.kind = $4)
     and ($5::text is null or h.name = $5)
     and ($6::text is null or j.dataset_name = $6)
   order by j.ordinal desc
   limit $7`,
  )

const listGroup = listOf('job_list', 'j.group_id = $1')
const listAll = listOf('job_list_all', '$1::uuid is null')

const end = statement(
  'job_end',
  z.object({ state: JobState, result: z.unknown(), error: JobFailure.nullable(), withdrawn: z.boolean() }),
  'select state, result, error, withdrawn from job where id = $1',
)

export function createJobStore(sql: Sql): JobReader {
  return {
    async find(groupId, id) {
      if (!z.uuid().safeParse(id).success) return undefined
      const [row] = await sql.rows(find, [groupId, id])
      return row && toJob(row)
    },

    async list(groupId, filter, { limit, cursor }) {
      const values = [
        groupId,
        parseCursor(cursor),
        filter.state ?? null,
        filter.kind ?? null,
        filter.host ?? null,
        filter.dataset ?? null,
      ]
      const rows = await sql.rows(groupId === null ? listAll : listGroup, [...values, limit + 1])
      const shown = rows.slice(0, limit)
      const last = shown.at(-1)
      return { items: shown.map(toJob), nextCursor: rows.length > limit && last ? String(last.ordinal) : null }
    },

    async end(id): Promise<JobEnd | undefined> {
      const [row] = await sql.rows(end, [id])
      if (row === undefined) throw new FleetError('not_found', `there is no job '${id}'`)
      // A withdrawn order is over for who waits, whatever its host will say of it.
      if (!isTerminal(row.state) && !row.withdrawn) return undefined
      if (row.state === 'succeeded') return { ok: true, result: row.result }
      return { ok: false, error: row.error ?? { code: 'cancelled', message: 'the job was cancelled' } }
    },
  }
}

function parseCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (!/^\d{1,18}$/.test(cursor))
    throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
  return cursor
}

function toJob(row: z.infer<typeof JobRow>): KeptJob {
  return {
    id: row.id,
    groupId: row.group_id,
    kind: row.spec.kind,
    request: row.request,
    spec: row.spec,
    state: row.state,
    host: row.host,
    attempt: row.attempt,
    version: jobVersion({ ...row, heardDelivery: row.heard_delivery, heardSeq: row.heard_seq }),
    progress: row.progress,
    phases: row.phases,
    error: row.error,
    result: row.result,
    subject: row.dataset_id === null ? null : { id: row.dataset_id, name: row.dataset_name ?? '' },
    retryOf: row.retry_of,
    createdBy: row.created_by,
    createdAt: row.created_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
  }
}
