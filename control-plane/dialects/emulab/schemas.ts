import { z } from 'zod'
import { HostName } from '../../../shared/ids.ts'
import { IscsiName, MAX_ELEMENTS, SnapshotName, VolumePath } from '../../../shared/volume-spec.ts'

/** What "if set" means to clients that are shell scripts: `1`, `true`, and both as text. Absent and null: not set. */
const Flag = z
  .union([z.boolean(), z.literal([0, 1]), z.literal(['0', '1', 'true', 'false'])], 'must be 1, true, 0 or false')
  .nullish()
  .transform((given) => given === true || given === 1 || given === '1' || given === 'true')

/** `<pool>/<volume>`: the pool names the host. */
function isVolume(path: string): boolean {
  const [pool, ...names] = path.split('/')
  return HostName.safeParse(pool).success && VolumePath.safeParse(names.join('/')).success
}

function isSnapshot(path: string): boolean {
  const [volume = '', ...names] = path.split('@')
  return isVolume(volume) && SnapshotName.safeParse(names.join('@')).success
}

/** Longer than any that is good. */
const PATH_MAX = 512
const VOLUME_EXAMPLE = 'na-jbod-02-p01/projects/testbed/yat/nodes/nodea.centos72-probe.0001'
const WWN_EXAMPLE = 'iqn.2014-11.nmc-probe.org:testbed.yat.nodea.centos72-probe.0001'

const Destination = z
  .string()
  .max(PATH_MAX, `must be at most ${PATH_MAX} characters`)
  .refine(isVolume, 'must be <pool>/<volume>')
  .meta({ description: 'The volume, below its pool', example: VOLUME_EXAMPLE })
const Source = z
  .string()
  .max(PATH_MAX, `must be at most ${PATH_MAX} characters`)
  .refine(isSnapshot, 'must be <pool>/<volume>@<snapshot>')
  .meta({
    description: 'The snapshot that it is cloned from',
    example: 'na-jbod-02-p01/projects/testbed/images/centos72-probe@1',
  })
const Wwn = IscsiName.meta({
  description: 'The iSCSI name of the target; lower-case from here on',
  example: WWN_EXAMPLE,
})
const InitiatorName = IscsiName.meta({ example: 'iqn.2014-11.nmc-probe.org:666cf3f7545' })

const INITIATORS_MAX = 256

/** Initiators ask for 12 bytes at least (RFC 3720, 8.2.1), and some of them take no more than 16. */
const Chap = z
  .strictObject({
    user: z.string().regex(/^[\x21-\x7e]{1,223}$/, 'must be 1 to 223 visible ASCII characters'),
    secret: z
      .string()
      .regex(/^[\x21-\x7e]{12,255}$/, 'must be 12 to 255 visible ASCII characters')
      .meta({ format: 'password' }),
  })
  .meta({
    description: 'What initiators log in with, beside their name; never shown again. Absent: their name is enough',
  })

function listOf<Element extends z.ZodType>(element: Element) {
  return z.object({
    clones: z.array(element).min(1, 'must hold at least one').max(MAX_ELEMENTS, `must hold at most ${MAX_ELEMENTS}`),
  })
}

export const CreateBody = listOf(
  z.object({
    src: Source,
    dst: Destination,
    wwn: Wwn,
    initiators: z
      .array(InitiatorName)
      .min(1, 'must name at least one: a target without is open to nobody')
      .max(INITIATORS_MAX, `must be at most ${INITIATORS_MAX}`)
      .meta({ description: 'Exactly these may log in' }),
    createParent: Flag.meta({ description: 'Parents of `dst` that are missing are made' }),
    chap: Chap.optional(),
  }),
)

export const DeleteBody = listOf(
  z.object({
    dst: Destination,
    wwn: Wwn,
    deleteClone: Flag.meta({ description: 'The volume goes too' }),
    deleteClones: Flag.meta({ description: 'The same' }),
    force: Flag.meta({ description: 'Initiators that are logged in are thrown out; else the element fails' }),
  }),
)

export const StartedView = z.object({
  status: z.literal('ok'),
  job_id: z.uuid().meta({ description: 'For `clone_status`', example: '6457624d-da51-426b-a719-008f106f7ab2' }),
})

export const TestView = z.object({ status: z.literal('ok'), message: z.literal('test') })

export const STATUS_WORDS = [
  'pending',
  'start_job',
  'start_creating_clones',
  'done_creating_clones',
  'start_waiting_udevd',
  'done_waiting_udevd',
  'start_creating_targets',
  'done_creating_targets',
  'start_deleting_targets',
  'done_deleting_targets',
  'start_deleting_clones',
  'done_deleting_clones',
  'complete',
  'failed',
] as const
export type StatusWord = (typeof STATUS_WORDS)[number]

const Seconds = (description: string) =>
  z
    .number()
    .nonnegative()
    .meta({ description: `Seconds: ${description}. 0.0 until it is over`, example: 0.518237 })
const Count = (description: string) => z.number().int().nonnegative().meta({ description, example: 1 })
const Elements = z.array(z.number().int().nonnegative())

export const StatusView = z.object({
  status: z.enum(STATUS_WORDS).meta({
    description: '`failed` when all has ended and an element did not succeed; those that did stay',
    example: 'complete',
  }),
  job_type: z.enum(['create', 'delete']),
  num_requested: Count('Elements of the list'),
  num_completed: Count('Elements that succeeded'),
  num_clones: Count('Volumes cloned, or found as they were asked for; on a removal: deleted'),
  num_targets: Count('Targets made, or found as they were asked for; on a removal: gone'),
  percent_completed: z.number().min(0).max(1).meta({
    description: 'Share of the parts (volume and target of each element) that are over, failed ones too',
    example: 1,
  }),
  lag_time: Seconds('from the request to the start'),
  clone_time: Seconds('making or deleting volumes'),
  udevd_time: Seconds('waiting for their devices'),
  target_time: Seconds('making or removing targets'),
  job_time: Seconds('from the start to the end'),
  error: z.string().optional().meta({ description: 'Only when it failed: the first reason' }),
  errors: z
    .array(
      z.object({
        n: z.number().int().nonnegative().meta({ description: 'Of `clones`, from 0' }),
        code: z.string().meta({ example: 'conflict' }),
        message: z.string(),
      }),
    )
    .optional()
    .meta({ description: 'Only when some failed: each element that did, as soon as that is known' }),
  reused: Elements.optional().meta({
    description: 'Elements whose volume was there already, cloned from that snapshot; absent: none',
  }),
  diverged: Elements.optional().meta({ description: 'Those of them that were written to since; absent: none' }),
})
export type StatusView = z.infer<typeof StatusView>

export const EmulabErrorBody = z.object({
  status: z.literal('error'),
  message: z
    .string()
    .meta({ example: 'clones[0].initiators: must name at least one: a target without is open to nobody' }),
})

export const JobParam = z.object({ job_id: z.string() })
