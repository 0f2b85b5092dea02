import { z } from 'zod'
import { InstanceState, InstanceType, ReportedInstance } from '../../../shared/instance-spec.ts'
import type { KeptInstance } from '../../core/instances.ts'

export const InstanceRow = z
  .object({
    id: z.string(),
    ordinal: z.coerce.number(),
    group_id: z.string(),
    host_id: z.string(),
    host: z.string(),
    type: InstanceType,
    ref: z.string().nullable(),
    name: z.string(),
    state: z.enum(['CREATING', ...InstanceState.options]),
    mounts: ReportedInstance.shape.mounts,
    config_hash: z.string().nullable(),
    created_at: z.date(),
    seen_at: z.date().nullable(),
    gone_at: z.date().nullable(),
    moved_to: z.string().nullable(),
    is_moving: z.boolean(),
    version: z.coerce.number(),
  })
  .transform((row) => ({ ordinal: row.ordinal, instance: toInstance(row) }))

export const INSTANCE_COLUMNS = `i.id, i.ordinal, i.group_id, i.host_id, h.name as host, i.type, i.ref, i.name, i.state, i.mounts,
  i.config_hash, i.created_at, i.seen_at, i.gone_at, i.moved_to, i.version,
  exists (
    select 1
    from instance_move m
    where m.instance_id = i.id and m.ended_at is null and m.phase in ('stop', 'final', 'switch', 'restart')
  ) as is_moving`

export const INSTANCE_FROM = 'from instance i join host h on h.id = i.host_id'

function toInstance(row: {
  readonly id: string
  readonly group_id: string
  readonly host_id: string
  readonly host: string
  readonly type: KeptInstance['type']
  readonly ref: string | null
  readonly name: string
  readonly state: KeptInstance['state']
  readonly mounts: KeptInstance['mounts']
  readonly config_hash: string | null
  readonly created_at: Date
  readonly seen_at: Date | null
  readonly gone_at: Date | null
  readonly moved_to: string | null
  readonly is_moving: boolean
  readonly version: number
}): KeptInstance {
  const { id, host, type, ref, name, state, mounts, version } = row
  return {
    ...{ id, groupId: row.group_id, hostId: row.host_id, host, type, ref, name, state, mounts, version },
    configHash: row.config_hash,
    createdAt: row.created_at,
    seenAt: row.seen_at,
    goneAt: row.gone_at,
    movedTo: row.moved_to,
    isMoving: row.is_moving,
  }
}
