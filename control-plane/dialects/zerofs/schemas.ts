import { z } from 'zod'
import { HostName, ResourceName } from '../../../shared/ids.ts'
import { DriverName } from '../../../shared/wire/messages.ts'

const TAGS_MAX = 64
const Tags = z
  .record(z.string().min(1).max(128), z.string().max(256))
  .refine((tags) => Object.keys(tags).length <= TAGS_MAX, `must hold at most ${TAGS_MAX}`)
  .meta({ example: { app: 'postgres' } })

/** `ID:<n>` is how a snapshot names a source that is gone. */
const NewName = ResourceName.refine((name) => !/^ID:\d+$/.test(name), 'must not look like ID:<n>')

export const NameParam = z.object({ name: z.string().min(1) })

const UUID_EXAMPLE = '54988e7a-72b7-49a7-a149-80d114758ac6'
const EpochSeconds = z.number().int().meta({ description: 'Seconds since the epoch', example: 1766506929 })

/** What the document's answers do not have: where the dataset lives, and whether its blocks are shared. */
const Placement = {
  host: z.string(),
  pool: z.string(),
  driver: DriverName,
  mountpoint: z.string(),
  cow: z.boolean().meta({ description: 'False where snapshots and restores copy bytes' }),
  tags: z.record(z.string(), z.string()),
}

export const DatasetView = z.object({
  id: z.number().int().meta({ description: 'Shared by datasets and snapshots; `root` is 0', example: 1 }),
  name: z.string().meta({ example: 'my-dataset' }),
  uuid: z.uuid().meta({ example: UUID_EXAMPLE }),
  created_at: EpochSeconds,
  root_inode: z.number().int().meta({ description: 'Inode number of its root directory on its host', example: 123 }),
  is_readonly: z.boolean(),
  is_snapshot: z.boolean(),
  ...Placement,
})
export type DatasetView = z.infer<typeof DatasetView>

export const SnapshotView = z.object({
  id: z.number().int().meta({ example: 1 }),
  name: z.string().meta({ example: 'backup-2024-12-23' }),
  uuid: z.uuid().meta({ example: UUID_EXAMPLE }),
  source: z.string().meta({ description: 'A dataset, or `ID:<n>` once that is gone', example: 'root' }),
  created_at: EpochSeconds,
  readonly: z.boolean(),
  ...Placement,
})
export type SnapshotView = z.infer<typeof SnapshotView>

export const DatasetList = z.object({ datasets: z.array(DatasetView) })
export const SnapshotList = z.object({ snapshots: z.array(SnapshotView) })

export const CreateDatasetBody = z.object({
  name: NewName.meta({ example: 'my-dataset' }),
  host: HostName.optional().meta({ description: 'Default: where most bytes are free' }),
  pool: HostName.optional(),
  tags: Tags.optional(),
})

/** `source` is any text, because a path there has an error of its own. */
export const CreateSnapshotBody = z.object({
  source: z.string().min(1, 'must not be empty').meta({ description: 'A dataset, not a path', example: 'root' }),
  name: NewName.meta({ example: 'backup-2024-12-23' }),
  readonly: z.boolean().default(false),
  tags: Tags.optional(),
})

export const CloneBody = z.object({
  source: z
    .string()
    .min(1, 'must not be empty')
    .meta({ description: 'A dataset or snapshot', example: 'backup-2024-12-23' }),
  destination: NewName.meta({ example: 'my-clone' }),
  tags: Tags.optional(),
})

const PATH_MAX_LENGTH = 4096
const AbsolutePath = z
  .string()
  .max(PATH_MAX_LENGTH, `must be at most ${PATH_MAX_LENGTH} characters`)
  .regex(/^\//, "must begin with '/'")
  .refine((path) => !path.includes('\0'), 'must not hold a null character')

export const RestoreBody = z.object({
  snapshot: z.string().min(1, 'must not be empty').meta({ example: 'backup-2024-12-23' }),
  source: AbsolutePath.meta({
    description: 'Inside the snapshot; `/` is all of it',
    example: '/volumes/pvc-xxx/file.txt',
  }),
  destination: AbsolutePath.meta({ example: '/volumes/pvc-yyy/restored-file.txt' }),
  dataset: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'Restore into this one; default: where the snapshot came from' }),
  overwrite: z
    .boolean()
    .optional()
    .meta({ description: 'False: refuse an existing destination. True: replace even a full directory' }),
})

export const RestoreView = z.object({
  inode_id: z.number().int().meta({ description: '0 outside every dataset', example: 123 }),
  file_size: z.number().int().meta({ description: '0 for a directory', example: 1024 }),
  message: z.string().meta({ example: 'File restored instantly (COW) - no data copied. Inode: 123, Size: 1024 bytes' }),
})
export type RestoreView = z.infer<typeof RestoreView>

export const HealthView = z.object({ status: z.literal('ok'), version: z.string().meta({ example: '0.22.8' }) })

export const ZerofsErrorBody = z.object({
  error: z.string().meta({ example: 'CREATE_SNAPSHOT_FAILED' }),
  message: z
    .string()
    .meta({ example: "Dataset 'nonexistent' not found. Use GET /api/v1/datasets to list available datasets." }),
})
