import { z } from 'zod'
import { InstanceType } from '../../../shared/instance-spec.ts'
import type { KeptSnapshotOfInstance } from '../../core/instance-capture-book.ts'

const bigint = z.coerce.number()
const Status = z.enum(['creating', 'available', 'error', 'deleting'])

const Part = z.object({
  kind: z.enum(['dataset', 'volume']),
  id: z.string(),
  sourceId: z.string(),
  sizeBytes: z.number(),
  status: Status,
})

/** `s` is the snapshot. A part whose dataset or volume snapshot went with its host is none any more. */
export const SNAPSHOT_OF_INSTANCE_COLUMNS = `s.id, s.ordinal, s.group_id, s.name, s.instance_id, s.instance_type, s.instance_name, s.host,
  s.status, s.fail_reason, s.consistency, s.left_out, s.job_id, s.version, s.created_at, s.updated_at,
  coalesce((
    select jsonb_agg(jsonb_build_object('kind', p.kind, 'id', p.part_id, 'sourceId', p.source_id, 'sizeBytes', p.size_bytes,
      'status', case when exists (select 1 from dataset d where d.id = p.part_id)
          or exists (select 1 from volume_snapshot v where v.id = p.part_id) then p.status else 'error' end) order by p.n)
    from instance_snapshot_part p
    where p.snapshot_id = s.id
  ), '[]') as parts`

export const SnapshotOfInstanceRow = z
  .object({
    id: z.string(),
    ordinal: bigint,
    group_id: z.string(),
    name: z.string(),
    instance_id: z.string(),
    instance_type: InstanceType,
    instance_name: z.string(),
    host: z.string(),
    status: Status,
    fail_reason: z.string().nullable(),
    consistency: z.enum(['frozen', 'stopped', 'crash']).nullable(),
    left_out: z.array(z.string()),
    job_id: z.string().nullable(),
    version: bigint,
    created_at: z.date(),
    updated_at: z.date(),
    parts: z.array(Part),
  })
  .transform((row) => {
    const isBroken = row.status === 'available' && row.parts.some(({ status }) => status === 'error')
    const snapshot: KeptSnapshotOfInstance = {
      id: row.id,
      groupId: row.group_id,
      name: row.name,
      instanceId: row.instance_id,
      instance: { type: row.instance_type, name: row.instance_name, host: row.host },
      status: isBroken ? 'error' : row.status,
      failReason: isBroken ? 'a part of it is gone' : row.fail_reason,
      consistency: row.consistency,
      leftOut: row.left_out,
      jobId: row.job_id,
      parts: row.parts,
      version: row.version,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
    }
    return { ordinal: row.ordinal, snapshot }
  })
