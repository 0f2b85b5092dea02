import { z } from 'zod'
import { HostName } from '../../../shared/ids.ts'
import { atSchema } from '../../core/recurrence-schema.ts'
import { Retention } from '../../core/retention-schema.ts'
import { FEATURES, SOURCE_TYPES, STATE_CODES } from '../../core/schedules.ts'

const NAME_MAX = 200
const PATH_MAX = 4096
const PORTFOLIO_MAX = 255

const JobName = z.string().min(1, 'must not be empty').max(NAME_MAX).meta({ example: 'LocalJob' })
const ContainerId = z.string().min(1, 'must not be empty').max(PATH_MAX).meta({
  example: 'utest',
  description: "A container's name or id; of `dataset` its name, of `path` an absolute directory of the host",
})
const SourceTypes = z.enum(SOURCE_TYPES).meta({ example: 'lxc' })
const Place = z.enum(['local', 'remote'])
const PlacePath = z
  .string()
  .min(1, 'must not be empty')
  .max(PATH_MAX)
  .meta({ example: '/test/backup', description: "Below the target's base; of `local` below the host's backup root" })
const Profile = z.int().min(1).meta({ example: 1, description: "A target's id; with `remote`, and only there" })
const Disable = z.boolean().meta({ description: 'False unless said' })
const Host = HostName.meta({ description: 'Needed where several hosts have that container' })

/** Where backups go to, or come from. A profile is what makes a place remote. */
function requireProfile(
  place: { readonly target: 'local' | 'remote'; readonly profile?: number | undefined },
  context: z.RefinementCtx,
): void {
  const { target, profile } = place
  if ((target === 'remote') === (profile !== undefined)) return
  const message = target === 'remote' ? 'is required' : "goes with target 'remote' only"
  context.addIssue({ code: 'custom', path: ['profile'], message, input: place })
}

/** As it is described. What is checked is core's, which knows the unit of `start`: see `qnapStartUnit`. */
const { $schema: _, ...AT_DESCRIBED } = z.toJSONSchema(atSchema('seconds'), { io: 'input' })

const At = z.looseObject({}).meta({
  override: ({ jsonSchema }) => void Object.assign(jsonSchema, AT_DESCRIBED),
  description:
    '`start` of a oneshot is an epoch; else it counts from 00:00, in seconds unless the server is told that they are minutes. ' +
    '`timezone` (IANA) and `keep` are ours. Members that nobody knows are kept and shown.',
  example: { repeat: 'daily', start: 60 },
})

const Features = z
  .array(z.enum(FEATURES))
  .max(FEATURES.length)
  .meta({ description: '`stop` (instead of `pause`), `incremental`, `verify` are ours' })

export const CreateBackupBody = z.object({
  job_name: JobName,
  container_id: ContainerId,
  type: SourceTypes,
  dest: z.object({ target: Place, path: PlacePath, profile: Profile.optional() }).superRefine(requireProfile),
  at: At,
  retention: Retention.optional().meta({ description: 'How many good backups stay: 0 (all) unless said, or from 2' }),
  disable: Disable.optional(),
  features: Features.optional(),
  host: Host.optional(),
})
export type CreateBackupBody = z.infer<typeof CreateBackupBody>

export const ChangeBackupBody = z.object({
  job_name: JobName.optional(),
  container_id: ContainerId.optional(),
  type: SourceTypes.optional(),
  dest: z.object({ target: Place.optional(), path: PlacePath.optional(), profile: Profile.optional() }).optional(),
  at: z
    .looseObject({})
    .optional()
    .meta({ description: 'Its members are merged, too; null takes one away', example: { start: 120 } }),
  retention: Retention.optional(),
  disable: Disable.optional(),
  features: Features.optional(),
  host: Host.nullable().optional(),
})
export type ChangeBackupBody = z.infer<typeof ChangeBackupBody>

const LocalTime = z.string().meta({ example: '2015-03-18 01:00:00' })
const Result = z.int().meta({ description: '0 good, −1 failed, −2 stopped', example: 0 })
const ProgressView = z.int().min(-1).max(99).meta({ description: 'While it waits or runs; −1: not known' })

const StateView = z.object({
  code: z.enum(STATE_CODES),
  last_run: LocalTime.optional(),
  next_run: LocalTime.optional(),
  progress: ProgressView.optional(),
  result: Result.optional(),
})

const PlaceView = z.object({ path: z.string(), profile: z.number().int().optional(), target: Place })

/** The documented members; `host` only where one was asked for. */
export const BackupView = z.object({
  at: z.looseObject({ repeat: z.string(), start: z.number() }),
  container_id: z.string().meta({ example: 'utest' }),
  dest: PlaceView,
  disable: z.boolean(),
  features: z.array(z.enum(FEATURES)),
  host: z.string().optional(),
  id: z.number().int().meta({ example: 1 }),
  job_name: z.string().meta({ example: 'LocalJob' }),
  retention: z.number().int(),
  state: StateView.meta({ description: 'Members that are not known are not there. Times are of its zone' }),
  type: z.enum(SOURCE_TYPES),
})
export type BackupView = z.infer<typeof BackupView>

export const BackupList = z.array(BackupView)

export const CreateRestoreBody = z.object({
  job_name: JobName,
  container_id: ContainerId,
  type: SourceTypes,
  src: z
    .object({
      target: Place,
      path: PlacePath,
      profile: Profile.optional(),
      portfolio: z.string().min(1, 'must not be empty').max(PORTFOLIO_MAX).meta({
        example: '1',
        description: "`<backup's job_name or id>[/<timestamp>]`; without a timestamp the newest good one",
      }),
    })
    .superRefine(requireProfile),
  start: z.boolean().optional().meta({ description: 'Ours: start the container then; false unless said' }),
  disable: Disable.optional(),
  host: Host.optional(),
})
export type CreateRestoreBody = z.infer<typeof CreateRestoreBody>

/** As the document has it: without `job_name`. */
export const RestoreView = z.object({
  container_id: z.string().meta({ example: 'utest' }),
  disable: z.boolean(),
  host: z.string().optional(),
  id: z.number().int().meta({ example: 1 }),
  src: z.object({
    path: z.string(),
    portfolio: z.string().meta({ example: '1' }),
    profile: z.number().int().optional(),
    target: Place,
  }),
  start: z.boolean().optional(),
  state: z.object({
    code: z.enum(STATE_CODES),
    end: z.number().int().optional().meta({ description: 'Epoch' }),
    last_run: LocalTime.optional(),
    progress: ProgressView.optional(),
    reason: z.string().optional().meta({ description: 'Why it failed' }),
    result: Result.optional(),
    start: z.number().int().optional().meta({ description: 'Epoch' }),
  }),
  type: z.enum(SOURCE_TYPES),
})
export type RestoreView = z.infer<typeof RestoreView>

export const RestoreList = z.array(RestoreView)
