import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { LockedJob } from '../../core/job-change.ts'
import type { Order, OrderTask } from '../../core/orders.ts'
import { type Statement, statement, type Transaction } from '../sql.ts'
import { isOfBackup, linkBackups, lockBackups } from './order-backups.ts'
import { isOfInstanceBackup, linkInstanceBackups, lockInstanceBackups } from './order-instance-backups.ts'

/** Backups of volumes and instances are locked and linked by themselves. */
type TaskKind = Exclude<OrderTask['kind'], 'backup' | 'instance-backup'>

const Locked = z.object({ id: z.string(), is_there: z.boolean() })

/** @param isThere condition under which the run still waits for the order */
function lockRun(name: string, isThere: string): Statement<typeof Locked> {
  return statement(
    name,
    Locked,
    `select r.id, ${isThere} as is_there
     from schedule s
     join schedule_run r on r.schedule_id = s.id
     where r.id = any($1::uuid[])
     order by s.id
     for update of s, r`,
  )
}

/**
 * A schedule before its run, and both before what the order is about, as in every transaction that locks them. Found by their ids
 * alone: with its state a row may be looked for among all of that state, of which Postgres believes that there is none.
 */
const lock: Readonly<Record<TaskKind, Statement<typeof Locked>>> = {
  run: lockRun('order_lock_run', "r.state = 'granted'"),
  verify: lockRun(
    'order_lock_verification',
    "r.state = 'running' and r.verify_job_id is null and r.stopped_by is null",
  ),
  restore: statement(
    'order_lock_restore_task',
    Locked,
    `select id, code in ('init', 'waiting') as is_there from restore_task where id = any($1::uuid[]) order by id for update`,
  ),
  move: statement(
    'order_lock_move',
    Locked,
    `select step_id as id,
       job_id is null and (stopped_by is null or phase not in ('copy', 'precopy', 'stop', 'final', 'switch')) as is_there
     from instance_move
     where step_id = any($1::uuid[])
     order by step_id
     for update`,
  ),
  lend: statement(
    'order_lock_loan',
    Locked,
    `select l.id, l.phase = 'connect' as is_there
     from volume_backup b
     join lun_loan l on l.backup_id = b.id
     where l.id = any($1::uuid[])
     order by b.id
     for update of b, l`,
  ),
}

const LINKS = 'jsonb_to_recordset($1::jsonb) as l(id uuid, job_id uuid, point_id uuid, host text, at_ms float8)'

const link: Readonly<Record<TaskKind, Statement<z.ZodType>>> = {
  run: statement(
    'order_link_run',
    z.unknown(),
    `with fired as (
       update schedule_run r
       set state = 'running', job_id = l.job_id, point_id = l.point_id, host = l.host, fired_at = to_timestamp(l.at_ms / 1000), reason = null,
         lease = null
       from ${LINKS}
       where r.id = l.id
       returning r.schedule_id, r.fired_at
     )
     update schedule s
     set code = 'running', last_run = fired.fired_at, version = s.version + 1
     from fired
     where s.id = fired.schedule_id`,
  ),
  verify: statement(
    'order_link_verification',
    z.unknown(),
    `update schedule_run r
     set verify_job_id = l.job_id, lease = null
     from ${LINKS}
     where r.id = l.id`,
  ),
  restore: statement(
    'order_link_restore_task',
    z.unknown(),
    `update restore_task r
     set code = 'running', job_id = l.job_id, point_id = l.point_id, host = coalesce(r.host, l.host),
       started_at = to_timestamp(l.at_ms / 1000), reason = null, lease = null, version = r.version + 1
     from ${LINKS}
     where r.id = l.id`,
  ),
  move: statement(
    'order_link_move',
    z.unknown(),
    `update instance_move m
     set job_id = l.job_id, lease = null, waiting = null, version = m.version + 1,
       base_point_id = case m.phase when 'copy' then l.point_id else m.base_point_id end,
       final_point_id = case m.phase when 'final' then l.point_id else m.final_point_id end,
       dataset_id = case m.phase when 'precopy' then (select j.dataset_id from job j where j.id = l.job_id) else m.dataset_id end,
       down_at = case m.phase when 'stop' then coalesce(m.down_at, now()) else m.down_at end
     from ${LINKS}
     where m.step_id = l.id`,
  ),
  lend: statement(
    'order_link_loan',
    z.unknown(),
    `with lent as (
       update lun_loan t
       set phase = 'work', phase_at = now(), job_id = l.job_id, look_at = now(), looks = 0
       from ${LINKS}
       where t.id = l.id
       returning t.backup_id, t.job_id
     )
     update volume_backup b
     set restore_job_id = lent.job_id, job_id = lent.job_id, version = b.version + 1, updated_at = now()
     from lent
     where b.id = lent.backup_id`,
  ),
}

/** @returns why orders must not be placed; the tasks of the others are locked. */
export async function lockTasks(tx: Transaction, orders: readonly Order[]): Promise<ReadonlyMap<Order, FleetError>> {
  const gone = new Map([
    ...(await lockBackups(tx, orders.filter(isOfBackup))),
    ...(await lockInstanceBackups(tx, orders.filter(isOfInstanceBackup))),
  ])
  for (const [kind, asked] of byKind(orders)) {
    const locked = await tx.rows(lock[kind], [asked.map(({ task }) => task?.id)])
    const there = new Set(locked.flatMap(({ id, is_there: isThere }) => (isThere ? [id] : [])))
    for (const order of asked) {
      if (there.has(order.task?.id ?? '')) continue
      gone.set(order, new FleetError('conflict', 'what this was ordered for has its job already, or was stopped'))
    }
  }
  return gone
}

/** From here on the tasks are the jobs'. @param jobOf of the n-th order, where it was placed. */
export async function linkTasks(
  tx: Transaction,
  orders: readonly Order[],
  jobOf: (n: number) => LockedJob | undefined,
): Promise<void> {
  await linkBackups(tx, orders.filter(isOfBackup), (order) => jobOf(orders.indexOf(order)))
  await linkInstanceBackups(tx, orders.filter(isOfInstanceBackup), (order) => jobOf(orders.indexOf(order)))
  for (const [kind, asked] of byKind(orders)) {
    const links = asked.flatMap((order) => {
      const job = jobOf(orders.indexOf(order))
      if (job === undefined || order.task === undefined) return []
      const { id, host, spec } = job
      const pointId = 'pointId' in spec ? spec.pointId : null
      return { id: order.task.id, job_id: id, point_id: pointId, host, at_ms: order.task.atMs }
    })
    if (links.length > 0) await tx.rows(link[kind], [JSON.stringify(links)])
  }
}

function byKind(orders: readonly Order[]): ReadonlyMap<TaskKind, readonly Order[]> {
  const found = new Map<TaskKind, Order[]>()
  for (const order of orders) {
    if (order.task && order.task.kind !== 'backup' && order.task.kind !== 'instance-backup')
      found.set(order.task.kind, [...(found.get(order.task.kind) ?? []), order])
  }
  return found
}
