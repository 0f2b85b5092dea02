import { z } from 'zod'
import type { FleetError } from '../../../shared/errors.ts'
import type { LockedJob } from '../../core/job-change.ts'
import type { InstanceBackupTask, Order } from '../../core/orders.ts'
import { statement, type Transaction } from '../sql.ts'
import { linkStanding, lockStanding, StandingRow } from './order-standing.ts'

/** By then whoever orders the parts of a backup has done so, or has died over it. */
export const ORDERING_SECONDS = 120

/** Before what the order is about, as in every transaction that locks both. */
const lock = statement(
  'order_lock_instance_backup',
  StandingRow,
  `select id, version, not deleting as is_there
   from instance_backup
   where id = any($1::uuid[])
   order by id
   for update`,
)

/** Its series is that of its first point. */
const make = statement(
  'order_make_instance_backup',
  z.unknown(),
  `insert into instance_backup (id, group_id, name, instance_id, instance_type, instance_name, host, target_id, series_id, incremental,
     asked_state, ordering_until)
   select l.id, l.group_id, l.name, l.instance_id, l.instance_type, l.instance_name, l.host, l.target_id, p.series_id, l.incremental,
     l.asked_state, now() + make_interval(secs => ${ORDERING_SECONDS})
   from jsonb_to_recordset($1::jsonb) as l(id uuid, group_id uuid, name text, instance_id uuid, instance_type text, instance_name text,
     host text, target_id uuid, incremental boolean, asked_state text, job_id uuid)
   join point p on p.job_id = l.job_id`,
)

const link = statement(
  'order_link_instance_backup',
  z.unknown(),
  `update instance_backup b
   set asked_state = coalesce(l.asked_state, b.asked_state), fail_reason = null,
     -- Of a phase, and of a point that is tried again, nobody orders the rest behind this.
     ordering_until = case when l.asked_state is null then b.ordering_until else now() + make_interval(secs => ${ORDERING_SECONDS}) end,
     captured = case when l.asked_state is null and b.phase = 'snapshot' then b.captured end,
     look_at = case when l.asked_state is null and b.phase = 'snapshot' then now() else b.look_at end,
     phase = case when l.asked_state is null and b.phase = 'snapshot' then 'volumes' else b.phase end,
     version = b.version + 1, updated_at = now()
   from jsonb_to_recordset($1::jsonb) as l(id uuid, asked_state text)
   where b.id = l.id`,
)

export type InstanceBackupOrder = Order & { readonly task: InstanceBackupTask }

export function isOfInstanceBackup(order: Order): order is InstanceBackupOrder {
  return order.task?.kind === 'instance-backup'
}

/** @returns why orders must not be placed; the backups of the others are locked. */
export async function lockInstanceBackups(
  tx: Transaction,
  orders: readonly InstanceBackupOrder[],
): Promise<ReadonlyMap<Order, FleetError>> {
  return lockStanding(tx, orders, { lock, busy: 'the backup is being deleted' })
}

export async function linkInstanceBackups(
  tx: Transaction,
  orders: readonly InstanceBackupOrder[],
  jobOf: (order: Order) => LockedJob | undefined,
): Promise<void> {
  await linkStanding(tx, orders, jobOf, {
    make,
    link,
    madeRow: ({ groupId, name, instanceId, instance, targetId, isIncremental }, { state }) => ({
      ...{
        group_id: groupId,
        name,
        instance_id: instanceId,
        instance_type: instance.type,
        instance_name: instance.name,
      },
      ...{ host: instance.host, target_id: targetId, incremental: isIncremental, asked_state: state },
    }),
    linkedRow: ({ state }) => ({ asked_state: state ?? null }),
  })
}
