import { z } from 'zod'
import { HostName, Id } from '../../shared/ids.ts'
import { SnapshotName, VolumePath, VolumeSize } from '../../shared/volume-spec.ts'
import { VolumeNameText, VolumeSnapshotNameText } from './volume-names.ts'

/** What each kind of job about a volume was asked, as it is kept with the job so that a retry can ask it again. */
export const CreateVolumeRequest = z.object({
  id: Id.optional(),
  name: VolumePath,
  sizeBytes: VolumeSize,
  pool: HostName.optional(),
  host: HostName.optional(),
  createParent: z.boolean().optional(),
})

export const CloneVolumeRequest = z.object({
  id: Id.optional(),
  source: VolumeSnapshotNameText,
  name: VolumePath,
  sizeBytes: VolumeSize.optional(),
  createParent: z.boolean().optional(),
  discardSource: z.boolean().optional(),
})

export const ResizeVolumeRequest = z.object({ volume: VolumeNameText, sizeBytes: VolumeSize })
export const SnapshotVolumeRequest = z.object({ volume: VolumeNameText, name: SnapshotName })
/** With `name`: that snapshot of it. */
export const DeleteVolumeRequest = z.object({ volume: VolumeNameText, name: SnapshotName.optional() })

export const RollbackVolumeRequest = z.object({ volume: VolumeNameText, name: SnapshotName })
export const RestoreVolumeRequest = z.object({
  id: Id.optional(),
  point: z.string(),
  volume: VolumeNameText,
  sizeBytes: VolumeSize.optional(),
  overwrite: z.boolean().optional(),
  createParent: z.boolean().optional(),
})

/** The same as they are kept: names are text again. */
export const KeptVolumeRequest = {
  clone: z.object({
    id: z.string().optional(),
    source: z.string(),
    name: z.string(),
    sizeBytes: z.number().optional(),
    createParent: z.boolean().optional(),
    discardSource: z.boolean().optional(),
  }),
  resize: z.object({ volume: z.string(), sizeBytes: z.number() }),
  snapshot: z.object({ volume: z.string(), name: z.string() }),
  delete: z.object({ volume: z.string(), name: z.string().optional() }),
  rollback: z.object({ volume: z.string(), name: z.string() }),
  restore: z.object({
    id: z.string().optional(),
    point: z.string(),
    volume: z.string(),
    sizeBytes: z.number().optional(),
    overwrite: z.boolean().optional(),
    createParent: z.boolean().optional(),
  }),
} as const
