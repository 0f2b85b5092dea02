import { z } from 'zod'
import type { RunEnd } from '../../core/schedule-ends.ts'
import { type Sql, statement } from '../sql.ts'

/** A run that ends, if it is still as it was when that was decided. */
export interface EndingRun {
  readonly id: string
  readonly from: string
  readonly end: RunEnd
}

/** Only a good run makes points superfluous, and only a good one, or a person, makes up for instants that were missed. */
const write = statement(
  'run_end',
  z.object({ id: z.string() }),
  `with ended as (
     update schedule_run r
     set state = 'ended', outcome = e.outcome, reason = e.reason, ended_at = to_timestamp($2::float8 / 1000), owes_prune = e.result = 0,
       lease = null
     from jsonb_to_recordset($1::jsonb) as e(id uuid, from_state text, outcome text, reason text, result smallint)
     where r.id = e.id and r.state = e.from_state
     returning r.schedule_id, e.outcome, e.result
   )
   update schedule s
   set code = case when s.disabled or s.next_due is null then 'completed' else 'scheduled' end, result = ended.result,
     unmet_at = case when ended.outcome in ('missed', 'failed') then s.unmet_at end, version = s.version + 1
   from ended
   where s.id = ended.schedule_id
   returning s.id`,
)

/** Whoever calls this has locked their schedules. @returns how many ended. */
export async function endRuns(tx: Pick<Sql, 'rows'>, nowMs: number, ends: readonly EndingRun[]): Promise<number> {
  if (ends.length === 0) return 0
  const records = ends.map(({ id, from, end }) => ({ id, from_state: from, ...end }))
  return (await tx.rows(write, [JSON.stringify(records), nowMs])).length
}
