import { z } from 'zod'
import { type Sql, statement } from '../sql.ts'

/** Looked at in one step. */
const STEP = 1_000
/** What was named when it was looked at is looked at again after so long. */
const ROUND_SECONDS = 86_400

const Ordinal = z.coerce.number()

const lock = statement(
  'job_prune_lock',
  z.object({ ordinal: Ordinal }),
  'select ordinal from job_pruning for update skip locked',
)

/** Ordinals are given out in the order of time, or so nearly that a day does not matter. */
const look = statement(
  'job_prune_look',
  z.object({ last: Ordinal.nullable(), until: z.date().nullable(), ids: z.array(z.string()) }),
  `with next as (
     select id, ordinal, created_at, finished_at
     from job
     where ordinal > $1
     order by ordinal
     limit ${STEP}
   ), old as (
     select * from next where created_at < now() - make_interval(secs => $2)
   )
   select max(ordinal) as last, max(created_at) as until,
     coalesce(array_agg(id) filter (where finished_at < now() - make_interval(secs => $2)), '{}') as ids
   from old`,
)

/** What is told of a job where it stands, and is read there. */
export const NAMED_BY = [
  ['point', 'job_id'],
  ['schedule_run', 'job_id'],
  ['schedule_run', 'verify_job_id'],
  ['restore_task', 'job_id'],
  ['instance', 'job_id'],
  ['instance_snapshot', 'job_id'],
  ['instance_move', 'job_id'],
  ['superseded_dataset', 'job_id'],
  ['volume_backup', 'job_id'],
  ['volume_backup', 'restore_job_id'],
  ['block_volume', 'delete_job_id'],
  ['block_snapshot', 'delete_job_id'],
  ['lun_loan', 'job_id'],
  ['lane_hold', 'job_id'],
] as const

/** Datasets of instances are told apart by what their jobs say. */
const remove = statement(
  'job_prune_remove',
  z.object({ id: z.string() }),
  `delete from job j
   where j.id = any($1::uuid[])
     ${NAMED_BY.map(([table, column]) => `and not exists (select 1 from ${table} n where n.${column} = j.id)`).join('\n     ')}
     and not exists (select 1 from export_batch_job e where e.job_id = j.id and e.secret_id is not null)
     and not (j.kind in ('point.restore', 'instance.clone') and exists (select 1 from dataset d where d.id = j.dataset_id))
   returning j.id`,
)

/** Lists of which nothing is left, or nothing was ordered. All jobs from before `$1` were looked at. */
const removeBatches = statement(
  'job_prune_batches',
  z.object({ id: z.string() }),
  `delete from export_batch
   where id in (
     select b.id
     from export_batch b
     where b.created_at < $1 and not exists (select 1 from export_batch_job o where o.batch_id = b.id)
     order by b.created_at
     limit ${STEP}
   )
   returning id`,
)

const turn = statement('job_prune_turn', z.unknown(), 'update job_pruning set ordinal = $1')

const again = statement(
  'job_prune_again',
  z.unknown(),
  `update job_pruning
   set ordinal = 0, began_at = now()
   where began_at < now() - make_interval(secs => ${ROUND_SECONDS})`,
)

export interface JobPruneStore {
  /**
   * Removes of the next thousand jobs those that ended longer ago than that and that nothing names. Each step costs the same, however many
   * there are and stay.
   * @returns undefined when no more are old enough, or another replica is at it
   */
  step(olderThanMs: number): Promise<{ readonly jobs: number; readonly batches: number } | undefined>
}

export function createJobPruneStore(sql: Sql): JobPruneStore {
  return {
    step: (olderThanMs) =>
      sql.transaction(async (tx) => {
        const [standing] = await tx.rows(lock, [])
        if (standing === undefined) return undefined
        const [found] = await tx.rows(look, [standing.ordinal, olderThanMs / 1_000])
        if (found === undefined || found.last === null) {
          await tx.rows(again, [])
          return undefined
        }
        const jobs = await tx.rows(remove, [found.ids])
        const batches = await tx.rows(removeBatches, [found.until])
        await tx.rows(turn, [found.last])
        return { jobs: jobs.length, batches: batches.length }
      }),
  }
}
