import { z } from 'zod'
import type { FleetError } from '../../../shared/errors.ts'
import type { LockedJob } from '../../core/job-change.ts'
import type { BackupTask, Order } from '../../core/orders.ts'
import { statement, type Transaction } from '../sql.ts'
import { linkStanding, lockStanding, StandingRow } from './order-standing.ts'

/** What is busy is looked at again then, should nobody have told how it ended. */
export const LOOK_AGAIN_SECONDS = 60

/** Before what the order is about, as in every transaction that locks both. */
const lock = statement(
  'order_lock_volume_backup',
  StandingRow,
  `select id, version, status in ('available', 'error') as is_there
   from volume_backup
   where id = any($1::uuid[])
   order by id
   for update`,
)

/** The same for an order that something was borrowed for, which has made the backup busy. */
const lockLent = statement(
  'order_lock_lent_backup',
  StandingRow,
  `select b.id, b.version, not b.deleting and l.phase = 'connect' as is_there
   from volume_backup b
   join lun_loan l on l.backup_id = b.id
   where b.id = any($1::uuid[]) and l.phase in ('snapshot', 'copy', 'make', 'reserve', 'connect')
   order by b.id
   for update of b, l`,
)

/** Its series is that of its first point. */
const make = statement(
  'order_make_volume_backup',
  z.unknown(),
  `insert into volume_backup (id, group_id, name, volume_id, volume, snapshot_id, target_id, series_id, incremental, retention,
     instance_backup_id, asked_bytes, status, job_id, look_at)
   select l.id, l.group_id, l.name, l.volume_id, l.volume, l.snapshot_id, l.target_id, p.series_id, l.incremental, l.retention,
     l.instance_backup_id, l.asked_bytes, 'creating', l.job_id, now() + make_interval(secs => ${LOOK_AGAIN_SECONDS})
   from jsonb_to_recordset($1::jsonb) as l(id uuid, group_id uuid, name text, volume_id uuid, volume text, snapshot_id uuid,
     target_id uuid, incremental boolean, retention integer, instance_backup_id uuid, asked_bytes bigint, job_id uuid)
   join point p on p.job_id = l.job_id`,
)

const link = statement(
  'order_link_volume_backup',
  z.unknown(),
  `update volume_backup b
   set status = 'creating', job_id = l.job_id, fail_reason = null, asked_bytes = coalesce(l.asked_bytes, b.asked_bytes),
     look_at = now() + make_interval(secs => ${LOOK_AGAIN_SECONDS}), looks = 0, version = b.version + 1, updated_at = now()
   from jsonb_to_recordset($1::jsonb) as l(id uuid, job_id uuid, asked_bytes bigint)
   where b.id = l.id`,
)

const linkLoan = statement(
  'order_link_lent_backup',
  z.unknown(),
  `update lun_loan t
   set phase = 'work', phase_at = now(), job_id = l.job_id, look_at = now(), looks = 0
   from jsonb_to_recordset($1::jsonb) as l(id uuid, job_id uuid)
   where t.id = l.id`,
)

export type BackupOrder = Order & { readonly task: BackupTask }

export function isOfBackup(order: Order): order is BackupOrder {
  return order.task?.kind === 'backup'
}

/** @returns why orders must not be placed; the backups of the others are locked. */
export async function lockBackups(
  tx: Transaction,
  orders: readonly BackupOrder[],
): Promise<ReadonlyMap<Order, FleetError>> {
  const isLent = ({ task }: BackupOrder) => task.loan !== undefined
  const own = orders.filter((order) => !isLent(order))
  const gone = await lockStanding(tx, own, { lock, busy: 'a job about the backup goes on' })
  const lent = await lockStanding(tx, orders.filter(isLent), {
    lock: lockLent,
    busy: 'what was borrowed is given back',
  })
  return new Map([...gone, ...lent])
}

/** And what was borrowed for them. */
export async function linkBackups(
  tx: Transaction,
  orders: readonly BackupOrder[],
  jobOf: (order: Order) => LockedJob | undefined,
): Promise<void> {
  await linkStanding(tx, orders, jobOf, {
    make,
    link,
    madeRow: (backup, { sizeBytes }) => ({
      ...{ group_id: backup.groupId, name: backup.name, volume_id: backup.volumeId, volume: backup.volume },
      ...{ snapshot_id: backup.snapshotId, target_id: backup.targetId, incremental: backup.isIncremental },
      ...{ retention: backup.retention, instance_backup_id: backup.instanceBackupId, asked_bytes: sizeBytes ?? null },
    }),
    linkedRow: ({ sizeBytes }) => ({ asked_bytes: sizeBytes ?? null }),
  })
  const lent = orders.flatMap((order) => {
    const job = jobOf(order)
    return job === undefined || order.task.loan === undefined ? [] : [{ id: order.task.loan, job_id: job.id }]
  })
  if (lent.length > 0) await tx.rows(linkLoan, [JSON.stringify(lent)])
}
