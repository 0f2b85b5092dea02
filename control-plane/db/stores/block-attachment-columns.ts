import { z } from 'zod'
import type { BlockAttachment } from '../../core/block-volumes.ts'

/** `t` as one value. */
export const ATTACHMENT = `json_build_object('id', t.id, 'volume_id', t.volume_id, 'instance_id', t.instance_id, 'host_name', t.host_name,
      'mountpoint', t.mountpoint, 'mode', t.mode, 'state', t.state, 'initiator', t.initiator, 'connection', t.connection,
      'is_disk', t.is_disk,
      'attached_at', t.attached_at, 'created_at', t.created_at)`

const Connection = z.object({
  targetIqn: z.string(),
  portal: z.string(),
  lun: z.number(),
  chapUser: z.string().nullable(),
})

export const AttachmentColumns = z
  .object({
    id: z.string(),
    volume_id: z.string(),
    instance_id: z.string().nullable(),
    host_name: z.string().nullable(),
    mountpoint: z.string().nullable(),
    mode: z.enum(['rw', 'ro']),
    state: z.enum(['reserved', 'attaching', 'attached']),
    initiator: z.string().nullable(),
    connection: Connection.nullable(),
    is_disk: z.boolean(),
    attached_at: z.string().nullable(),
    created_at: z.string(),
  })
  .transform(
    (row): BlockAttachment => ({
      id: row.id,
      volumeId: row.volume_id,
      instanceId: row.instance_id,
      hostName: row.host_name,
      mountpoint: row.mountpoint,
      mode: row.mode,
      state: row.state,
      initiator: row.initiator,
      connection: row.connection,
      isDisk: row.is_disk,
      attachedAt: row.attached_at === null ? null : new Date(row.attached_at),
      createdAt: new Date(row.created_at),
    }),
  )
