import { z } from 'zod'
import { HostName } from '../../../shared/ids.ts'
import { SnapshotName, VolumePath, VolumeSize } from '../../../shared/volume-spec.ts'
import { DriverName } from '../../../shared/wire/messages.ts'
import { PageQuery, pageOf, Timestamp } from './schemas.ts'

/** Of what clients name: `<pool>/<name>`, or with `@<snapshot>`. */
const PATH_MAX = 500

const STATES = ['creating', 'available', 'deleting'] as const

export const VolumeParams = z.object({
  volume: z.string().min(1).max(PATH_MAX).meta({
    description: 'Its path `<pool>/<name>`, url-encoded, or its id',
    example: 'tank/disk-1',
  }),
})
export const VolumeSnapshotParams = VolumeParams.extend({
  name: z.string().min(1).max(PATH_MAX).meta({ description: 'Behind the `@`' }),
})
export const PoolParams = z.object({ pool: z.string().min(1).max(PATH_MAX).meta({ description: 'Its name' }) })

const createParent = z
  .boolean()
  .optional()
  .meta({ description: "Whether what the name's slashes lead through is made where it is missing; not unless said" })
const name = VolumePath.meta({
  description: "Below the pool; slashes lead through others' names",
  example: 'node/disk-1',
})
const sizeBytes = VolumeSize.meta({ example: 1_073_741_824 })

export const CreateVolumeBody = z.object({
  name,
  size_bytes: sizeBytes,
  pool: HostName.optional().meta({ description: 'The one with most free bytes unless said' }),
  host: HostName.optional(),
  create_parent: createParent,
})

export const ResizeVolumeBody = z.object({ size_bytes: sizeBytes.meta({ description: 'Never less than it has' }) })

export const CloneVolumeBody = z.object({
  name: VolumePath.meta({ description: 'Of the clone, below the same pool' }),
  snapshot: SnapshotName.optional().meta({
    description: 'Needed unless the path names one: `<pool>/<name>@<snapshot>`',
  }),
  create_parent: createParent,
})

export const VolumeQuery = PageQuery.extend({
  pool: z.string().min(1).max(PATH_MAX).optional().meta({ description: "A pool's name" }),
  host: z.string().min(1).max(PATH_MAX).optional().meta({ description: "A host's name" }),
})

export const VolumeView = z.object({
  id: z.uuid(),
  group_id: z.uuid(),
  name: z.string().meta({ description: 'Below its pool' }),
  path: z.string().meta({ description: '`<pool>/<name>`' }),
  size_bytes: z.number().int(),
  state: z.enum(STATES),
  host: z.string(),
  pool: z.string(),
  driver: DriverName,
  device: z
    .string()
    .nullable()
    .meta({ description: 'On its host; null until it is there, and for all but admins of the fleet' }),
  origin: z
    .string()
    .nullable()
    .meta({ description: '`<pool>/<name>@<snapshot>`, as it was called when this was cloned from it' }),
  created_at: Timestamp,
})
export type VolumeView = z.infer<typeof VolumeView>

export const VolumePage = pageOf(VolumeView)

export const SnapshotVolumeBody = z.object({ name: SnapshotName })

export const VolumeSnapshotView = z.object({
  id: z.uuid(),
  name: z.string(),
  path: z.string().meta({ description: '`<pool>/<name>@<snapshot>`' }),
  volume_id: z.uuid(),
  size_bytes: z.number().int().meta({ description: 'Of the volume, when it was taken' }),
  state: z.enum(STATES),
  created_at: Timestamp,
})
export type VolumeSnapshotView = z.infer<typeof VolumeSnapshotView>

export const RollbackVolumeBody = z.object({ snapshot: SnapshotName.meta({ description: 'One of its own' }) })

export const RollbackAccepted = z.object({
  job_id: z.uuid(),
  safety: VolumeSnapshotView.meta({ description: 'What the volume was before; it stays until somebody deletes it' }),
})

export const VolumeSnapshotPage = pageOf(VolumeSnapshotView)

export const StandingVolumePage = pageOf(
  z.object({
    path: z.string(),
    size_bytes: z.number().int(),
    snapshots: z.array(z.string()).meta({ description: 'Names' }),
    origin: z.string().nullable().meta({ description: 'The snapshot that it is a clone of' }),
  }),
)
