import { z } from 'zod'
import { ResourceName } from '../../shared/ids.ts'

const TAG_MAX = 64
export const Tags = z
  .record(z.string().min(1).max(TAG_MAX), z.string().max(256))
  .refine((tags) => Object.keys(tags).length <= TAG_MAX, `at most ${TAG_MAX} tags`)

/** An absolute path inside a dataset. `.` and `..` are refused here, and again by the agent, which resolves the rest. */
export const InnerPath = z
  .string()
  .max(4096, 'must be at most 4096 characters')
  .regex(/^\//, "must begin with '/'")
  .refine((path) => !path.includes('\0'), 'must not hold a NUL')
  .refine((path) => path.split('/').every((part) => part !== '..' && part !== '.'), "must not hold '.' or '..'")
  .refine((path) => path.split('/').every((part) => Buffer.byteLength(part) <= 255), 'a name in it is over 255 bytes')

/** What each kind of job was asked, as it is kept with the job so that a retry can ask it again. */
export const CreateDatasetRequest = z.object({
  name: ResourceName,
  host: z.string().optional(),
  pool: z.string().optional(),
  tags: Tags.optional(),
})

export const CloneDatasetRequest = z.object({ source: z.string(), name: ResourceName, tags: Tags.optional() })
export const DeleteDatasetRequest = z.object({ name: z.string() })
export const CreateSnapshotRequest = z.object({
  source: z.string(),
  name: ResourceName,
  readonly: z.boolean(),
  tags: Tags.optional(),
})

export const RestoreSnapshotRequest = z.object({
  snapshot: z.string(),
  source: InnerPath,
  destination: z.object({ kind: z.enum(['dataset', 'host']), path: InnerPath }),
  dataset: z.string().optional(),
  overwrite: z.boolean().optional(),
})
