import { z } from 'zod'
import { statement, type Transaction } from '../sql.ts'

/**
 * Of the domains of a host: a disk is a volume by its host's pool and path, or by the target of an export, wherever that is. What somebody
 * has noted by hand is left as it is.
 */
const settle = statement(
  'disk_attachments',
  z.object({ volume_id: z.string() }),
  `with disk as (
     select i.id as instance_id, m.destination, m.volume, m.readonly
     from instance i
     cross join lateral jsonb_to_recordset(i.mounts) as m(destination text, kind text, volume text, readonly boolean)
     where i.host_id = $1 and i.type = 'libvirt' and i.gone_at is null and m.kind = 'disk' and m.volume is not null
   ), found as (
     select d.instance_id, d.destination, d.readonly, v.id as volume_id
     from disk d
     join pool p on p.host_id = $1 and starts_with(d.volume, p.local_name || '/')
     join volume v on v.pool_id = p.id and v.path = p.name || substr(d.volume, length(p.local_name) + 1)
     union all
     select d.instance_id, d.destination, d.readonly, v.id
     from disk d
     join export e on d.volume = 'iscsi:' || e.wwn
     join volume v on v.path = e.volume
   ), wanted as (
     select instance_id, volume_id, min(destination) as mountpoint, bool_and(readonly) as readonly
     from found
     group by instance_id, volume_id
   ), gone as (
     delete from volume_attachment a
     where a.is_disk
       and not exists (select 1 from wanted w where w.instance_id = a.instance_id and w.volume_id = a.volume_id)
       and not exists (select 1 from instance i where i.id = a.instance_id and i.host_id <> $1)
     returning a.volume_id
   ), made as (
     insert into volume_attachment (id, volume_id, instance_id, mountpoint, mode, state, attached_at, is_disk)
     select gen_random_uuid(), w.volume_id, w.instance_id, w.mountpoint, case when w.readonly then 'ro' else 'rw' end, 'attached', now(), true
     from wanted w
     where not exists (select 1 from volume_attachment a where a.instance_id = w.instance_id and a.volume_id = w.volume_id)
     returning volume_id
   )
   update volume v
   set version = version + 1
   where v.id in (select volume_id from gone union select volume_id from made)
   returning v.id as volume_id`,
)

/** Under the lock of volumes, when what a host has told of its instances is written. */
export async function settleDisks(tx: Pick<Transaction, 'rows'>, hostId: string): Promise<void> {
  await tx.rows(settle, [hostId])
}
