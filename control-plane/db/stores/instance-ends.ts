import { z } from 'zod'
import { instanceSettlementOf, type JobChange } from '../../core/job-change.ts'
import { statement, type Transaction } from '../sql.ts'

/**
 * The instance of each job gets the name that its agent gave it. Should that have been listed meanwhile, it was taken for a new one, which is
 * forgotten again; a name that an older one has is no answer, and the job's own row goes.
 */
const settle = statement(
  'instance_settle',
  z.unknown(),
  `with ended as (
     select * from jsonb_to_recordset($1::jsonb) as e(job_id uuid, act text, ref text, state text, id uuid)
   ), twin as (
     delete from instance other
     using ended e, instance i, job j
     where e.act = 'made' and i.job_id = e.job_id and j.id = e.job_id and other.host_id = i.host_id and other.type = i.type
       and other.ref = e.ref and other.gone_at is null and other.id <> i.id and other.created_at >= j.created_at
     returning other.id
   ), made as (
     update instance i
     set ref = e.ref, state = e.state, job_id = null, gone_at = null, settled_at = now(), version = i.version + 1
     from ended e, (select count(*) from twin) as forgotten
     where e.act = 'made' and i.job_id = e.job_id and not exists (
       select 1
       from instance other
       where other.host_id = i.host_id and other.type = i.type and other.ref = e.ref and other.gone_at is null and other.id <> i.id
         and other.id not in (select id from twin)
     )
   )
   update instance i
   set state = e.state, settled_at = now(), version = i.version + 1
   from ended e
   where e.act = 'turned' and i.id = e.id and i.ref is not null`,
)

/** What the jobs were to make and did not is gone with them; what they were to make anew is what it was. */
const release = statement(
  'instance_release',
  z.unknown(),
  `with unmade as (
     delete from instance where job_id = any($1::uuid[]) and state = 'CREATING'
   )
   update instance
   set job_id = null, version = version + 1
   where job_id = any($1::uuid[]) and state <> 'CREATING'`,
)

export function concernsInstances(change: JobChange): boolean {
  return instanceSettlementOf(change) !== undefined
}

/** After the jobs, in their transaction. */
export async function settleInstances(tx: Transaction, changes: readonly JobChange[]): Promise<void> {
  const ended = changes.flatMap((change) => {
    const settlement = instanceSettlementOf(change)
    return settlement ? [{ job_id: change.job.id, ...settlement }] : []
  })
  if (ended.length === 0) return
  await tx.rows(settle, [JSON.stringify(ended)])
  const makers = ended.flatMap(({ act, job_id: id }) => (act === 'turned' ? [] : [id]))
  if (makers.length > 0) await tx.rows(release, [makers])
}
