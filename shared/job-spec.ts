import { z } from 'zod'
import { HostName, Id } from './ids.ts'
import {
  CloneInstanceSpec,
  DiscardInstanceSnapshotSpec,
  InstanceChanged,
  InstanceCloned,
  InstanceSnapshotDiscarded,
  InstanceSnapshotted,
  InstanceType,
  SnapshotInstanceSpec,
  StartInstanceSpec,
  StopInstanceSpec,
} from './instance-spec.ts'
import {
  CreatePointSpec,
  DeletePointSpec,
  PointDeleted,
  PointMade,
  PointMoved,
  PointRehearsed,
  PointRestored,
  PointVerified,
  RehearsePointSpec,
  RestoreLunSpec,
  RestorePointSpec,
  RestoreVolumeSpec,
  TrashPointSpec,
  UntrashPointSpec,
  VerifyPointSpec,
} from './point-spec.ts'
import {
  CloneVolumeSpec,
  CreateExportsSpec,
  CreateVolumeSpec,
  DeleteExportsSpec,
  DeleteVolumeSpec,
  ExportsCreated,
  ExportsDeleted,
  ExportsReconciled,
  LunRestored,
  ReconcileExportsSpec,
  ResizeVolumeSpec,
  RollbackVolumeSpec,
  SnapshotVolumeSpec,
  VolumeCloned,
  VolumeDeleted,
  VolumeMade,
  VolumeRestored,
  VolumeRolledBack,
  VolumeSnapshotMade,
} from './volume-spec.ts'

/** Where a dataset lives on its host: the agent's own name of the pool, and the directory name (its uuid) in it. */
const DatasetPlace = z.object({ pool: HostName, dataset: Id })
export type DatasetPlace = z.infer<typeof DatasetPlace>

/** An absolute path inside a dataset, as a client spelled it; the agent resolves it beneath the dataset's root. */
const InnerPath = z.string().min(1).max(4096)

const RestoreDestination = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('dataset'), place: DatasetPlace, path: InnerPath }),
  /** An absolute path on the host itself, below the agent's allow-list. */
  z.object({ kind: z.literal('host'), path: InnerPath }),
])

export const CreateDatasetSpec = z.object({ kind: z.literal('dataset.create'), target: DatasetPlace })
export const DeleteDatasetSpec = z.object({
  kind: z.literal('dataset.delete'),
  target: DatasetPlace,
  /** It was made for an instance of that type: it stays for as long as one has its root or a mount in it. */
  madeFor: InstanceType.optional(),
})
/** Makes `target` a copy-on-write image of `source` at one instant (see a driver's `atomic`). */
export const CreateSnapshotSpec = z.object({
  kind: z.literal('snapshot.create'),
  source: DatasetPlace,
  target: DatasetPlace,
  readonly: z.boolean(),
})
export const CloneDatasetSpec = z.object({
  kind: z.literal('dataset.clone'),
  source: DatasetPlace,
  target: DatasetPlace,
})
export const RestoreSnapshotSpec = z.object({
  kind: z.literal('snapshot.restore'),
  snapshot: DatasetPlace,
  sourcePath: InnerPath,
  destination: RestoreDestination,
  /** Undefined: a file or an empty directory may be replaced, a directory with content may not. */
  overwrite: z.boolean().optional(),
})
export type RestoreSnapshotSpec = z.infer<typeof RestoreSnapshotSpec>

/** What an agent is ordered to do: everything it needs, nothing it must look up. */
export const JobSpec = z.discriminatedUnion('kind', [
  CreateDatasetSpec,
  DeleteDatasetSpec,
  CreateSnapshotSpec,
  CloneDatasetSpec,
  RestoreSnapshotSpec,
  CreatePointSpec,
  VerifyPointSpec,
  RehearsePointSpec,
  RestorePointSpec,
  DeletePointSpec,
  TrashPointSpec,
  UntrashPointSpec,
  CloneInstanceSpec,
  StartInstanceSpec,
  StopInstanceSpec,
  SnapshotInstanceSpec,
  DiscardInstanceSnapshotSpec,
  CreateVolumeSpec,
  CloneVolumeSpec,
  SnapshotVolumeSpec,
  ResizeVolumeSpec,
  DeleteVolumeSpec,
  RollbackVolumeSpec,
  RestoreLunSpec,
  RestoreVolumeSpec,
  CreateExportsSpec,
  DeleteExportsSpec,
  ReconcileExportsSpec,
])
export type JobSpec = z.infer<typeof JobSpec>
export type JobKind = JobSpec['kind']
export type SpecOf<Kind extends JobKind> = Extract<JobSpec, { kind: Kind }>

/** A dataset that now stands on its host. */
export const DatasetMade = z.object({
  /** Inode number of its root directory, as `stat` on the host tells it. */
  rootInode: z.number().int().nonnegative(),
  /** Where the host mounts or keeps it. */
  mountpoint: z.string(),
  /** False when the image was not taken at one instant while writers ran: a walk over a live tree. */
  atomic: z.boolean(),
  /** True only when no data byte was copied. */
  cow: z.boolean(),
})
export type DatasetMade = z.infer<typeof DatasetMade>

export const SnapshotRestored = z.object({
  type: z.enum(['file', 'directory']),
  /** Inode number of what now stands at the destination. */
  inode: z.number().int().nonnegative(),
  /** Bytes of the file; 0 for a directory. */
  fileSize: z.number().int().nonnegative(),
  files: z.number().int().nonnegative(),
  bytes: z.number().int().nonnegative(),
  cow: z.boolean(),
})
export type SnapshotRestored = z.infer<typeof SnapshotRestored>

export const DatasetDeleted = z.object({})

/** What each kind answers on success. */
export const RESULT_SCHEMAS = {
  'dataset.create': DatasetMade,
  'dataset.clone': DatasetMade,
  'snapshot.create': DatasetMade,
  'dataset.delete': DatasetDeleted,
  'snapshot.restore': SnapshotRestored,
  'point.create': PointMade,
  'point.verify': PointVerified,
  'point.rehearse': PointRehearsed,
  'point.restore': PointRestored,
  'point.delete': PointDeleted,
  'point.trash': PointMoved,
  'point.untrash': PointMoved,
  'instance.clone': InstanceCloned,
  'instance.start': InstanceChanged,
  'instance.stop': InstanceChanged,
  'instance.snapshot': InstanceSnapshotted,
  'instance.discard': InstanceSnapshotDiscarded,
  'volume.create': VolumeMade,
  'volume.clone': VolumeCloned,
  'volume.snapshot': VolumeSnapshotMade,
  'volume.resize': VolumeMade,
  'volume.delete': VolumeDeleted,
  'volume.rollback': VolumeRolledBack,
  'volume.restore': VolumeRestored,
  'lun.restore': LunRestored,
  'export.create': ExportsCreated,
  'export.delete': ExportsDeleted,
  'export.reconcile': ExportsReconciled,
} as const satisfies Record<JobKind, z.ZodType>

export type ResultOf<Kind extends JobKind> = z.infer<(typeof RESULT_SCHEMAS)[Kind]>
