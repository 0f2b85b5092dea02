import { z } from 'zod'
import { JobFailure, Progress } from '../../../shared/job-event.ts'
import { isTerminal, JobState } from '../../../shared/job-machine.ts'
import type { ExportBatchFacts } from '../../core/export-batch.ts'
import { type Sql, statement } from '../sql.ts'

const Failure = z.object({
  n: z.number(),
  code: z.string(),
  message: z.string(),
  unexported: z.boolean().optional(),
})
const Numbers = z.array(z.number())

const Job = z
  .object({
    id: z.string(),
    host: z.string(),
    state: JobState,
    started_at: z.coerce.date().nullable(),
    finished_at: z.coerce.date().nullable(),
    progress: Progress.nullable(),
    error: JobFailure.nullable(),
    elements: z.number(),
    failed: Numbers.nullable(),
    deleting: Numbers.nullable(),
    result: z
      .object({
        done: Numbers,
        reused: Numbers,
        diverged: Numbers,
        errors: z.array(Failure),
        times: z.object({ cloneSeconds: z.number(), deviceSeconds: z.number(), targetSeconds: z.number() }),
      })
      .nullable(),
  })
  .transform(({ started_at: startedAt, finished_at: finishedAt, ...job }) => ({ ...job, startedAt, finishedAt }))

const BatchRow = z
  .object({
    id: z.string(),
    group_id: z.string(),
    type: z.enum(['create', 'delete']),
    requested: z.number(),
    done: z.array(z.object({ n: z.number(), volume: z.boolean() })),
    errors: z.array(Failure),
    created_at: z.date(),
    jobs: z.array(Job),
  })
  .transform(
    ({ group_id: groupId, created_at: createdAt, ...batch }): ExportBatchFacts => ({ ...batch, groupId, createdAt }),
  )

/** Of lists only the numbers are read, and only once a job has ended: while it runs a look costs the same for one and for a thousand. */
const find = statement(
  'export_batch_find',
  BatchRow,
  `select b.id, b.group_id, b.type, b.requested, b.done, b.errors, b.created_at, coalesce((
     select jsonb_agg(jsonb_build_object('id', j.id, 'host', h.name, 'state', j.state, 'started_at', j.started_at,
       'finished_at', j.finished_at, 'progress', j.progress, 'error', j.error, 'elements', o.elements,
       'failed', case when j.state in ('failed', 'cancelled') then jsonb_path_query_array(j.spec, '$.elements[*].n') end,
       'deleting', case when j.state = 'succeeded' and b.type = 'delete'
         then jsonb_path_query_array(j.spec, '$.elements[*] ? (@.deleteVolume == true).n') end,
       'result', case when j.state = 'succeeded' then jsonb_build_object(
         'done', jsonb_path_query_array(j.result, '$.done[*].n'),
         'reused', jsonb_path_query_array(j.result, '$.done[*] ? (@.reused == true).n'),
         'diverged', jsonb_path_query_array(j.result, '$.done[*] ? (@.diverged == true).n'),
         'errors', j.result -> 'errors', 'times', j.result -> 'times') end
     ) order by j.ordinal)
     from export_batch_job o
     join job j on j.id = o.job_id
     join host h on h.id = j.host_id
     where o.batch_id = b.id
   ), '[]') as jobs
   from export_batch b
   where b.id = $2 and ($1::uuid is null or b.group_id = $1)`,
)

/** What has ended changes no more: kept for those who look again, the newest so many. */
const MAX_ENDED = 100

/** @returns what reads one; `groupId` null: of any group. */
export function createExportBatchReader(sql: Sql) {
  const ended = new Map<string, ExportBatchFacts>()

  return async (groupId: string | null, id: string): Promise<ExportBatchFacts | undefined> => {
    if (!z.uuid().safeParse(id).success) return undefined
    const known = ended.get(id)
    if (known !== undefined) return groupId === null || known.groupId === groupId ? known : undefined
    const [batch] = await sql.rows(find, [groupId, id])
    if (batch?.jobs.every(({ state }) => isTerminal(state))) {
      ended.set(id, batch)
      const oldest = ended.keys().next().value
      if (ended.size > MAX_ENDED && oldest !== undefined) ended.delete(oldest)
    }
    return batch
  }
}
