import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { LockedJob } from '../../core/job-change.ts'
import type { Order, OrderTask } from '../../core/orders.ts'
import { type Statement, statement, type Transaction } from '../sql.ts'

/** A schedule before its run, and both before what the order is about, as in every transaction that locks them. */
const lock: Readonly<Record<OrderTask['kind'], Statement<z.ZodType>>> = {
  run: statement(
    'order_lock_run',
    z.unknown(),
    `select 1
     from schedule s
     join schedule_run r on r.schedule_id = s.id
     where r.id = $1 and r.state = 'granted'
     for update of s, r`,
  ),
  verify: statement(
    'order_lock_verification',
    z.unknown(),
    `select 1
     from schedule s
     join schedule_run r on r.schedule_id = s.id
     where r.id = $1 and r.state = 'running' and r.verify_job_id is null and r.stopped_by is null
     for update of s, r`,
  ),
  restore: statement(
    'order_lock_restore_task',
    z.unknown(),
    `select 1 from restore_task where id = $1 and code in ('init', 'waiting') for update`,
  ),
}

const link: Readonly<Record<OrderTask['kind'], Statement<z.ZodType>>> = {
  run: statement(
    'order_link_run',
    z.unknown(),
    `with fired as (
       update schedule_run
       set state = 'running', job_id = $2, point_id = $3, host = $4, fired_at = to_timestamp($5::float8 / 1000), reason = null, lease = null
       where id = $1
       returning schedule_id
     )
     update schedule
     set code = 'running', last_run = to_timestamp($5::float8 / 1000), version = version + 1
     where id in (select schedule_id from fired)`,
  ),
  verify: statement(
    'order_link_verification',
    z.unknown(),
    `update schedule_run
     set verify_job_id = $2, lease = null
     where id = $1 and $3::uuid is not null and $4::text is not null and $5::float8 is not null`,
  ),
  restore: statement(
    'order_link_restore_task',
    z.unknown(),
    `update restore_task
     set code = 'running', job_id = $2, point_id = $3, host = coalesce(host, $4), started_at = to_timestamp($5::float8 / 1000),
       reason = null, lease = null, version = version + 1
     where id = $1`,
  ),
}

/** @returns why the order must not be placed. */
export async function lockTask(tx: Transaction, { task }: Order): Promise<FleetError | undefined> {
  if (task === undefined) return undefined
  const [found] = await tx.rows(lock[task.kind], [task.id])
  if (found !== undefined) return undefined
  return new FleetError('conflict', 'what this was ordered for has its job already, or was stopped')
}

/** From here on the task is the job's. */
export async function linkTask(tx: Transaction, { task }: Order, { id, host, spec }: LockedJob): Promise<void> {
  if (task === undefined) return
  const pointId = 'pointId' in spec ? spec.pointId : null
  await tx.rows(link[task.kind], [task.id, id, pointId, host, task.atMs])
}
