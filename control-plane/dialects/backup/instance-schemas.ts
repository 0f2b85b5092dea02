import { z } from 'zod'
import { InstanceType } from '../../../shared/instance-spec.ts'
import {
  FailReason,
  Name,
  NextMarker,
  PageQuery,
  ProgressView,
  Status,
  Target,
  TargetView,
  Times,
  Whole,
} from './schemas.ts'

const REFERENCE_MAX = 255

export const InstanceQuery = PageQuery.extend({ instance_id: z.string().max(REFERENCE_MAX).optional() })

const InstanceId = z
  .string()
  .min(1, 'must not be empty')
  .max(REFERENCE_MAX)
  .meta({ description: 'Its id, or its name where one instance alone has it' })

export const CreateInstanceSnapshotBody = z.object({ snapshot: z.object({ name: Name, instance_id: InstanceId }) })
export const CreateInstanceBackupBody = z.object({
  backup: z.object({
    name: Name,
    instance_id: InstanceId,
    target: Target,
    incremental: z.boolean().nullish().meta({ description: 'May be updated; false unless said' }),
  }),
})

const SnapshotStatus = z.enum(['creating', 'available', 'error', 'deleting'])

/** What of a capture is told of the whole. */
const capture = {
  id: z.uuid(),
  name: z.string(),
  instance_id: z.uuid(),
  instance: z.object({ type: InstanceType, name: z.string(), host: z.string() }),
  consistency: z.enum(['frozen', 'stopped', 'crash']).nullable().meta({
    description: '`frozen`, `stopped`: one instant of one that stood still; `crash`: each part as after a power cut',
  }),
  fail_reason: FailReason,
  ...Times,
}

const size = Whole.meta({ description: 'GiB, rounded up' })
const VolumeSnapshotPart = z.object({ id: z.uuid(), volume_id: z.uuid(), size, status: SnapshotStatus })
const RootSnapshotPart = z.object({ id: z.uuid(), dataset_id: z.uuid(), status: SnapshotStatus })

export const InstanceSnapshotView = z.object({
  ...capture,
  status: SnapshotStatus,
  root_snapshots: z.array(RootSnapshotPart).meta({ description: 'Of datasets that are its own, the root first' }),
  volume_snapshots: z.array(VolumeSnapshotPart).meta({ description: 'Of volumes that are attached to it' }),
  left_out: z.array(z.string()).meta({ description: 'Where in it something is mounted that is not in the snapshot' }),
})
export type InstanceSnapshotView = z.infer<typeof InstanceSnapshotView>
export const OneInstanceSnapshot = z.object({ snapshot: InstanceSnapshotView })
export const InstanceSnapshotList = z.object({ snapshots: z.array(InstanceSnapshotView), next_marker: NextMarker })

const VolumeBackupPart = z.object({ id: z.uuid(), volume_id: z.uuid(), size, status: Status })
const RootBackupPart = z.object({ id: z.uuid(), source_id: z.uuid(), size, status: Status })

export const InstanceBackupView = z.object({
  ...capture,
  status: Status,
  is_incremental: z.boolean(),
  target: TargetView,
  size: size.meta({ description: 'Of all its parts, GiB, rounded up' }),
  progress: ProgressView,
  has_dependent_backups: z.boolean(),
  root_backups: z.array(RootBackupPart).meta({ description: 'Of the instance itself: `id` is the newest point' }),
  volume_backups: z.array(VolumeBackupPart).meta({ description: 'Of volumes that are attached to it' }),
})
export type InstanceBackupView = z.infer<typeof InstanceBackupView>
export const OneInstanceBackup = z.object({ backup: InstanceBackupView })
export const InstanceBackupList = z.object({ backups: z.array(InstanceBackupView), next_marker: NextMarker })
