import { z } from 'zod'
import { isTerminal } from '../../../shared/job-machine.ts'
import { instanceBackupOfSeries } from '../../core/instance-backup-state.ts'
import type { JobChange } from '../../core/job-change.ts'
import { backupOfSeries } from '../../core/volume-backup-state.ts'
import { statement, type Transaction } from '../sql.ts'

const CONCERNED = `select i.id
   from instance_backup i
   where i.id = any($1::uuid[])
   union
   select v.instance_backup_id
   from volume_backup v
   where v.id = any($2::uuid[]) and v.instance_backup_id is not null`

const lock = statement(
  'instance_backup_lock',
  z.object({ id: z.string() }),
  `select id from instance_backup where id in (${CONCERNED}) order by id for update`,
)

/** What they are is read anew from their points and parts; that it is another, and perhaps what is to be done next, is all that is kept. */
const touch = statement(
  'instance_backup_touch',
  z.unknown(),
  `update instance_backup
   set version = version + 1, updated_at = now(), look_at = case when deleting or phase is not null then now() else look_at end,
     looks = case when deleting or phase is not null then 0 else looks end,
     fail_reason = case when deleting then $3 else fail_reason end
   where id in (${CONCERNED})`,
)

/** Ids of backups of instances, and of those of volumes that may be parts of some. */
function concernedBy(changes: readonly JobChange[]) {
  const directories = changes.flatMap(({ job, state }) =>
    isTerminal(state) && 'series' in job.spec ? [job.spec.series] : [],
  )
  const instances = directories.flatMap((directory) => instanceBackupOfSeries(directory) ?? [])
  const volumes = directories.flatMap((directory) => backupOfSeries(directory) ?? [])
  return { instances: [...new Set(instances)], volumes: [...new Set(volumes)] }
}

export function concernsInstanceBackups(change: JobChange): boolean {
  return concernedBy([change]).instances.length > 0
}

/** Before jobs are written: those who order the next point have the backup before they have points. */
export async function lockInstanceBackupsOf(tx: Transaction, changes: readonly JobChange[]): Promise<void> {
  const { instances, volumes } = concernedBy(changes)
  if (instances.length + volumes.length > 0) await tx.rows(lock, [instances, volumes])
}

/** After the jobs, the points and the backups of volumes, in their transaction. */
export async function touchInstanceBackups(tx: Transaction, changes: readonly JobChange[]): Promise<void> {
  const { instances, volumes } = concernedBy(changes)
  if (instances.length + volumes.length === 0) return
  const undeleted = changes.find(
    ({ job, state }) => job.kind === 'point.delete' && isTerminal(state) && state !== 'succeeded',
  )
  const why = undeleted === undefined ? null : (undeleted.error?.message ?? 'its job was cancelled')
  await tx.rows(touch, [instances, volumes, why])
}
