import { z } from 'zod'
import { type CaptureSettlement, captureSettlementOf } from '../../core/instance-capture-ends.ts'
import type { JobChange } from '../../core/job-change.ts'
import { statement, type Transaction } from '../sql.ts'

const PARTS = `jsonb_to_recordset($1::jsonb) as e(job_id uuid, act text, id uuid, root_inode bigint, mountpoint text, consistency text,
  guid text, size_bytes bigint)`

/** The rows that parts have elsewhere, and what is told of each part. */
const settleParts = statement(
  'capture_settle_parts',
  z.unknown(),
  `with ended as (
     select * from ${PARTS}
   ), datasets as (
     update dataset d
     set state = 'available', version = d.version + 1, root_inode = coalesce(e.root_inode, d.root_inode),
       mountpoint = coalesce(e.mountpoint, d.mountpoint), consistency = coalesce(e.consistency, d.consistency)
     from ended e
     where d.id = e.id and e.act <> 'drop'
   ), snapshots as (
     update volume_snapshot v
     set state = 'available', version = v.version + 1, guid = coalesce(e.guid, v.guid), size_bytes = coalesce(e.size_bytes, v.size_bytes)
     from ended e
     where v.id = e.id and e.act <> 'drop'
   ), gone_datasets as (
     delete from dataset where id in (select id from ended where act = 'drop')
   ), gone_snapshots as (
     delete from volume_snapshot where id in (select id from ended where act = 'drop')
   )
   update instance_snapshot_part p
   set status = case when e.act = 'drop' then 'error' else 'available' end, size_bytes = coalesce(e.size_bytes, p.size_bytes)
   from ended e
   where p.part_id = e.id`,
)

const settleSnapshots = statement(
  'capture_settle',
  z.unknown(),
  `with ended as (
     select *
     from jsonb_to_recordset($1::jsonb) as e(job_id uuid, act text, consistency text, fail_reason text, removed integer)
   ), gone as (
     delete from instance_snapshot s
     using ended e
     where s.job_id = e.job_id and e.act = 'removal'
       and not exists (select 1 from instance_snapshot_part p where p.snapshot_id = s.id and p.status <> 'error')
     returning s.id
   )
   update instance_snapshot s
   set status = case when e.act = 'made' then 'available'
         -- It is whole still, where nothing of it went.
         when e.act = 'removal' and e.removed = 0
           and not exists (select 1 from instance_snapshot_part p where p.snapshot_id = s.id and p.status = 'error') then 'available'
         else 'error' end,
     consistency = coalesce(e.consistency, s.consistency), fail_reason = e.fail_reason, version = s.version + 1, updated_at = now()
   from ended e
   where s.job_id = e.job_id and s.id not in (select id from gone)`,
)

/** After the jobs, in their transaction, which holds the lock of volumes since before it wrote any. */
export async function settleCaptures(tx: Transaction, changes: readonly JobChange[]): Promise<void> {
  const ended = changes.flatMap((change) => captureSettlementOf(change) ?? [])
  if (ended.length === 0) return
  await tx.rows(settleParts, [JSON.stringify(ended.flatMap(partValues))])
  await tx.rows(settleSnapshots, [
    JSON.stringify(
      ended.map(({ jobId, act, consistency, failReason, parts }) => {
        const removed = parts.filter((part) => part.act === 'drop').length
        return { job_id: jobId, act, consistency, fail_reason: failReason, removed }
      }),
    ),
  ])
}

function partValues({ jobId, parts }: CaptureSettlement) {
  return parts.map((part) => {
    const base = { job_id: jobId, act: part.act, id: part.id }
    if (part.act !== 'made') return base
    if (part.kind === 'volume') return { ...base, guid: part.guid, size_bytes: part.sizeBytes }
    const { rootInode, mountpoint, fuzzy } = part
    return { ...base, root_inode: rootInode, mountpoint, consistency: fuzzy ? 'fuzzy' : 'crash' }
  })
}
