import { z } from 'zod'
import { HostName, ResourceName } from '../../../shared/ids.ts'
import { Hold, InstanceName, InstanceRef, InstanceType } from '../../../shared/instance-spec.ts'
import { MemberBytes, MemberPath, PointProblem, TargetPath } from '../../../shared/point-spec.ts'
import { SnapshotName, VolumeSize } from '../../../shared/volume-spec.ts'
import { PointFile } from '../../../shared/wire/reads.ts'
import { PageQuery, pageOf, Timestamp } from './schemas.ts'

const PATH_MAX = 4096
const CURSOR_MAX = 12_000
const SEARCH_MAX = 1000
const PATHS_MAX = 1000
const VOLUME_MAX = 500

/** Slashes around it do not matter. */
function withoutSlashes(path: string): string {
  return path.replace(/^\/+|\/+$/g, '')
}

const FilePath = MemberPath.transform(withoutSlashes)
const DatasetName = z.string().min(1).max(200)
const AbsolutePath = z.string().min(1).max(PATH_MAX).startsWith('/', "must begin with '/'")

type Given = Readonly<Record<string, unknown>>

/**
 * Makes sure that exactly one of several ways to name a thing is used.
 * @param ways what each way is told by, and the other members it has; those in brackets need not be there.
 */
function oneWay(
  ways: Readonly<Record<string, { readonly needs?: readonly string[]; readonly may?: readonly string[] }>>,
) {
  return (given: Given, context: z.RefinementCtx): void => {
    const refuse = (path: string[], message: string) =>
      context.addIssue({ code: 'custom', path, message, input: given })
    const told = Object.keys(ways).find((name) => given[name] !== undefined)
    const way = told === undefined ? undefined : ways[told]
    if (told === undefined || way === undefined)
      return void refuse([], `must have one of: ${Object.keys(ways).join(', ')}`)
    const { needs = [], may = [] } = way
    for (const name of needs) if (given[name] === undefined) refuse([name], 'is required')
    for (const [name, value] of Object.entries(given)) {
      if (value === undefined || name === told || needs.includes(name) || may.includes(name)) continue
      refuse([name], `does not go with '${told}'`)
    }
  }
}

const Source = z
  .object({
    dataset: DatasetName.optional(),
    instance: InstanceRef.optional().meta({ description: 'Its name, or what its agent calls it' }),
    type: InstanceType.optional().meta({ description: 'Needed where an instance of that name is there in several' }),
    hold: Hold.optional().meta({ description: 'How the instance is held while it is copied from; `none` unless said' }),
    host: HostName.optional().meta({
      description: 'With `path`, for operators of the fleet; with `instance` where several hosts have it',
    }),
    path: AbsolutePath.optional().meta({ description: 'A directory that the host lets be backed up (`source_paths`)' }),
    volume: z.string().min(1).max(VOLUME_MAX).optional().meta({ description: 'Its path `<pool>/<name>`, or its id' }),
    snapshot: SnapshotName.optional().meta({ description: 'Of the volume: as it was then. Without it: as it is now' }),
  })
  .superRefine(
    oneWay({
      dataset: {},
      instance: { may: ['type', 'hold', 'host'] },
      volume: { may: ['snapshot'] },
      host: { needs: ['path'] },
    }),
  )
  .meta({
    description: 'A dataset, an instance, a volume, or a directory of a host',
    example: { dataset: 'my-dataset' },
  })

export const CreatePointBody = z.object({
  source: Source,
  target: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .meta({ description: "A target's id; `local` unless said: the backup root of the source's host" }),
  path: z.string().transform(withoutSlashes).pipe(TargetPath).optional().meta({
    description: "A directory below the target's base",
  }),
  incremental: z.boolean().optional().meta({ description: 'Completes the newest good point, where there is one' }),
  compress: z.boolean().optional().meta({ description: 'True unless said' }),
})
export type CreatePointBody = z.infer<typeof CreatePointBody>

export const PointAccepted = z.object({ id: z.uuid(), job_id: z.uuid() })
export const JobAccepted = z.object({ job_id: z.uuid() })

export const PointId = z.object({ id: z.uuid() })
export const PointPair = z.object({ id: z.uuid(), other: z.uuid() })

const STATUSES = ['running', 'good', 'partial', 'failed'] as const

export const PointQuery = PageQuery.extend({
  source: z
    .string()
    .min(1)
    .max(PATH_MAX)
    .optional()
    .meta({ description: "A dataset's name, `host:/path`, `lxc:name`, `docker:name`, or `<pool>/<name>` of a volume" }),
  target: z.string().min(1).max(100).optional().meta({ description: "A target's id, or `local`" }),
  status: z.enum(STATUSES).optional(),
})

/** Cursors of an agent hold a path. */
const AgentCursor = z
  .string()
  .min(1)
  .max(CURSOR_MAX)
  .optional()
  .meta({ description: '`next_cursor` of the page before' })

export const DiffQuery = PageQuery.extend({ cursor: AgentCursor })

export const FilesQuery = DiffQuery.extend({
  path: FilePath.optional().meta({
    description: 'A directory whose children are listed; the root unless said',
  }),
  path_base64: MemberBytes.optional().meta({ description: 'The same where its name is no text, as lists tell it' }),
  search: z
    .string()
    .min(1)
    .max(SEARCH_MAX)
    .optional()
    .meta({ description: 'Part of a name, whatever the case: everything below `path` that has it' }),
})

const Destination = z
  .object({
    dataset: DatasetName.optional(),
    path: z.string().min(1).max(PATH_MAX).optional().meta({ description: 'In the dataset; with `host`, on that host' }),
    new_dataset: ResourceName.optional().meta({ description: 'Made for the whole point' }),
    instance: InstanceName.optional().meta({ description: 'Made for the whole point of one; how it is to be called' }),
    type: InstanceType.optional(),
    start: z.boolean().optional().meta({ description: 'Of an instance: false unless said' }),
    replace: z
      .boolean()
      .optional()
      .meta({ description: 'A stopped instance of that name goes once the new one is whole; false unless said' }),
    host: HostName.optional(),
    pool: HostName.optional(),
    volume: z.string().min(1).max(VOLUME_MAX).optional().meta({
      description: 'Of the point of one: `<pool>/<name>`; with `overwrite`, it takes the place of the one there',
    }),
    size_bytes: VolumeSize.optional().meta({ description: "Of the volume; never less than the point's" }),
    create_parent: z.boolean().optional().meta({ description: "Whether what the volume's name leads through is made" }),
  })
  .superRefine(
    oneWay({
      dataset: { needs: ['path'] },
      new_dataset: { may: ['host', 'pool'] },
      instance: { may: ['type', 'host', 'pool', 'start', 'replace'] },
      volume: { may: ['size_bytes', 'create_parent'] },
      host: { needs: ['path'] },
    }),
  )
  .meta({
    description:
      'A place in a dataset, a new dataset, an instance, a volume, or a directory that a host lets be restored to',
    example: { dataset: 'my-dataset', path: '/restored' },
  })

export const RestoreBody = z.object({
  paths: z.array(FilePath).max(PATHS_MAX).optional().meta({
    description:
      'One: it becomes the destination. More: the destination becomes a directory of them. None: the whole point.',
  }),
  paths_base64: z.array(MemberBytes).max(PATHS_MAX).optional().meta({
    description: 'Beside those, such whose names are no text, as lists tell them (`path_base64`)',
  }),
  destination: Destination,
  overwrite: z.boolean().optional(),
})
export type RestoreBody = z.infer<typeof RestoreBody>

export const PointView = z.object({
  id: z.uuid(),
  group_id: z.uuid(),
  source: z.union([
    z.object({ dataset: z.string(), dataset_id: z.uuid() }),
    z.object({ host: z.string(), path: z.string() }),
    z.object({ instance: z.string(), instance_id: z.uuid(), type: InstanceType }),
    z.object({ volume: z.string(), volume_id: z.uuid(), snapshot: z.string().nullable() }),
  ]),
  host: z.string().meta({ description: 'The host that made it' }),
  target: z.object({ id: z.uuid(), name: z.string() }).nullable().meta({ description: "Null: the host's backup root" }),
  series: z.string().meta({ description: "Its directory below the target's base is `<series>/<name>`" }),
  name: z.string(),
  status: z.enum(STATUSES),
  deleting: z.boolean(),
  trashed_at: Timestamp.nullable().meta({
    description:
      'When retention deleted it: it can be taken back until its bytes are removed, and is neither read nor built on until then',
  }),
  returning: z.boolean().meta({ description: 'Trashed, and taken back: a good point again when `trashed_at` is null' }),
  pinned: z.boolean().meta({ description: 'A pinned point is never deleted' }),
  chain: z.array(z.uuid()).meta({ description: 'The points that it completes, oldest first; empty for a full one' }),
  full_reason: z.string().nullable().meta({ description: 'Why it is full although an increment was asked for' }),
  synthetic: z.boolean().meta({ description: 'Made of the archives of its chain' }),
  size_bytes: z.number().int().meta({ description: 'Stored' }),
  source_bytes: z.number().int(),
  members: z.number().int(),
  consistency: z.enum(['crash', 'fuzzy']),
  encrypted: z.boolean(),
  problem_count: z.number().int(),
  problems: z.array(PointProblem).meta({ description: 'Files that could not be read, or not as one state: the first' }),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  damage: z.object({ at: Timestamp, members: z.array(z.string()) }).nullable(),
  verified_at: Timestamp.nullable(),
  rehearsed_at: Timestamp.nullable(),
  recovery_seconds: z.number().nullable().meta({ description: 'What the last rehearsal took' }),
  location: z
    .object({ host: z.string(), path: z.string() })
    .nullable()
    .meta({ description: 'Where it lies on its host; null on a target, and for all but admins of the fleet' }),
  job_id: z.uuid(),
  created_at: Timestamp,
  finished_at: Timestamp.nullable(),
})
export type PointView = z.infer<typeof PointView>

export const PointPage = pageOf(PointView)

export const FileView = PointFile.omit({ pathBase64: true, size: true }).extend({
  path: z.string().meta({ description: 'Without a leading slash; bytes that are no text are shown as U+FFFD' }),
  path_base64: z.string().optional().meta({ description: 'Its bytes, where they are no text' }),
  size_bytes: z.number().int(),
})
export type FileView = z.infer<typeof FileView>

export const FilePage = pageOf(FileView)

export const DifferenceView = z.object({
  kind: z.enum(['added', 'removed', 'content', 'metadata']),
  before: FileView.nullable(),
  after: FileView.nullable(),
})
export type DifferenceView = z.infer<typeof DifferenceView>

export const DifferencePage = pageOf(DifferenceView)
