import { z } from 'zod'
import { HostName, Id } from '../../shared/ids.ts'
import { IscsiName, MAX_VOLUME_BYTES } from '../../shared/volume-spec.ts'
import { GIB } from './block-rules.ts'

const TEXT_MAX = 255
const METADATA_MAX = 128
const text = z.string().max(TEXT_MAX, `must be at most ${TEXT_MAX} characters`)

export const BlockMetadata = z
  .record(z.string().min(1, 'must not be empty').max(TEXT_MAX, `must be at most ${TEXT_MAX} characters`), text)
  .refine((metadata) => Object.keys(metadata).length <= METADATA_MAX, `must hold at most ${METADATA_MAX} members`)

export const BlockSizeGib = z
  .number()
  .int('must be a whole number')
  .min(1, 'must be at least 1')
  .max(MAX_VOLUME_BYTES / GIB, `must be at most ${MAX_VOLUME_BYTES / GIB}`)

const words = { name: text.nullish(), description: text.nullish() }
export const BlockWords = z.object(words)

export const CreateBlockVolumeRequest = z
  .object({
    ...words,
    metadata: BlockMetadata.optional(),
    sizeGib: BlockSizeGib.optional(),
    snapshotId: Id.optional(),
    sourceVolumeId: Id.optional(),
    backupId: Id.optional(),
    pool: HostName.optional(),
  })
  .refine(({ snapshotId, sourceVolumeId, backupId }) => {
    return [snapshotId, sourceVolumeId, backupId].filter((id) => id !== undefined).length <= 1
  }, 'a volume is made of one thing: a snapshot, a volume or a backup')

export const CreateBlockSnapshotRequest = z.object({
  ...words,
  volumeId: Id,
  metadata: BlockMetadata.optional(),
  force: z.boolean().optional(),
})

export const AttachRequest = z
  .object({
    instanceId: Id.optional(),
    hostName: text.optional(),
    mountpoint: text.optional(),
    mode: z.enum(['rw', 'ro']).optional(),
  })
  .refine(
    ({ instanceId, hostName }) => (instanceId === undefined) !== (hostName === undefined),
    'a volume is attached to a server or to a host: one of them',
  )

export const ConnectorRequest = z.object({
  initiator: IscsiName,
  host: text.optional(),
  mountpoint: text.optional(),
  mode: z.enum(['rw', 'ro']).optional(),
})

export const AttachmentRequest = z.object({
  volumeId: Id,
  instanceId: Id.optional(),
  connector: ConnectorRequest.optional(),
  mode: z.enum(['rw', 'ro']).optional(),
})
