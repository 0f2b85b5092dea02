import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { Decision } from '../../core/orders.ts'
import { claims, type Sql, statement, type Transaction } from '../sql.ts'
import { isDue } from './is-due.ts'
import type { Bounds } from './run-store.ts'

interface Superseded {
  readonly jobId: string
  readonly datasetId: string
}

/** Datasets that nobody needs once the jobs of these orders have succeeded. */
export function supersededBy(
  decided: readonly ({ readonly jobId: string; readonly decision: Decision } | FleetError | undefined)[],
): readonly Superseded[] {
  return decided.flatMap((one) => {
    if (one === undefined || one instanceof FleetError) return []
    return (one.decision.supersedes ?? []).map((datasetId) => ({ jobId: one.jobId, datasetId }))
  })
}

/** Of jobs that were not placed nothing is kept. */
const supersede = statement(
  'superseded_insert',
  z.unknown(),
  `insert into superseded_dataset (dataset_id, job_id)
   select s.dataset_id, s.job_id
   from jsonb_to_recordset($1::jsonb) as s(dataset_id uuid, job_id uuid)
   join job j on j.id = s.job_id
   on conflict (dataset_id) do update
   set job_id = excluded.job_id, attempts = 0, next_at = now(), reason = null`,
)

export async function supersedeDatasets(tx: Transaction, superseded: readonly Superseded[]): Promise<void> {
  if (superseded.length === 0) return
  const rows = superseded.map(({ jobId, datasetId }) => ({ job_id: jobId, dataset_id: datasetId }))
  await tx.rows(supersede, [JSON.stringify(rows)])
}

const Claimed = z
  .object({
    id: z.string(),
    group_id: z.string(),
    name: z.string(),
    is_superseded: z.boolean(),
    is_deleting: z.boolean(),
    attempts: z.number(),
    users: z.array(z.string()),
  })
  .transform((row) => ({
    id: row.id,
    groupId: row.group_id,
    name: row.name,
    isSuperseded: row.is_superseded,
    isDeleting: row.is_deleting,
    attempts: row.attempts,
    users: row.users,
  }))
export type ClaimedDataset = z.infer<typeof Claimed>

const FIRST_WAIT_SECONDS = 10
const LAST_WAIT_SECONDS = 3_600

/** Each comes again later, ever more rarely, until it is gone or forgotten. */
const claim = claims(
  'superseded_claim',
  Claimed,
  `update superseded_dataset s
   set attempts = s.attempts + 1,
     next_at = to_timestamp($1::float8 / 1000) + make_interval(secs => least(${LAST_WAIT_SECONDS}, ${FIRST_WAIT_SECONDS} * 2 ^ least(s.attempts, 20)))
   from job j, dataset d
   where s.dataset_id in (
       select w.dataset_id
       from superseded_dataset w
       join job e on e.id = w.job_id
       where (w.attempts = 0 or ${isDue('w.next_at', 'to_timestamp($1::float8 / 1000)')}) and e.finished_at is not null
       order by w.next_at
       limit $2
       for update of w skip locked
     )
     and j.id = s.job_id and d.id = s.dataset_id
   returning d.id, d.group_id, d.name, j.state = 'succeeded' as is_superseded, d.state <> 'available' as is_deleting, s.attempts,
     array(
       select 'the backup ' || u.name
       from schedule u
       where u.group_id = d.group_id and u.type = 'dataset' and u.container = d.name and not u.disabled
     ) as users`,
)

const explain = statement(
  'superseded_explain',
  z.unknown(),
  'update superseded_dataset set reason = $2 where dataset_id = $1',
)

const forget = statement('superseded_forget', z.unknown(), 'delete from superseded_dataset where dataset_id = $1')

/** Datasets of instances that were replaced. */
export interface SupersededStore {
  /** Those whose jobs have ended, each to be tried once now. */
  claim(bounds: Bounds): Promise<readonly ClaimedDataset[]>
  explain(datasetId: string, reason: string): Promise<void>
  /** It stays. */
  forget(datasetId: string): Promise<void>
}

export function createSupersededStore(sql: Sql): SupersededStore {
  return {
    claim: ({ nowMs, limit }) => sql.rows(claim, [nowMs, limit]),

    async explain(datasetId, reason) {
      await sql.rows(explain, [datasetId, reason])
    },

    async forget(datasetId) {
      await sql.rows(forget, [datasetId])
    },
  }
}
