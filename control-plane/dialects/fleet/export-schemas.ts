import { z } from 'zod'
import { ERROR_CODES } from '../../../shared/errors.ts'
import { ExportAccess, IscsiName, MAX_ELEMENTS } from '../../../shared/volume-spec.ts'
import { PageQuery, pageOf, Timestamp } from './schemas.ts'

const PATH_MAX = 500
const CHAP_SECRET_MIN = 12
const CHAP_SECRET_MAX = 255
const CHAP_USER_MAX = 223

const STATES = ['creating', 'available', 'deleting'] as const

/** Both ends of the protocol take these as they are. */
const Printable = z.string().regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces')

const Chap = z
  .object({
    user: Printable.min(1, 'must not be empty').max(CHAP_USER_MAX, `must be at most ${CHAP_USER_MAX} characters`),
    secret: Printable.min(CHAP_SECRET_MIN, `must be at least ${CHAP_SECRET_MIN} characters`)
      .max(CHAP_SECRET_MAX, `must be at most ${CHAP_SECRET_MAX} characters`)
      .meta({ description: 'Sealed, and never shown' }),
  })
  .meta({ description: 'What an initiator must show to log in, beside its name' })

const volume = z.string().min(1).max(PATH_MAX).meta({ description: '`<pool>/<name>`', example: 'tank/node-1' })
const wwn = IscsiName.meta({ description: "The target's iSCSI name", example: 'iqn.2026-01.org.example:node-1' })

export const CreateExportBody = z.object({
  volume,
  wwn,
  initiators: ExportAccess.shape.initiators.meta({ description: 'iSCSI names of all that may log in' }),
  chap: Chap.optional(),
  source: z.string().min(1).max(PATH_MAX).optional().meta({
    description: '`<pool>/<name>@<snapshot>`: the volume is cloned from it, unless it is such a clone already',
  }),
  create_parent: z.boolean().optional(),
  readonly: z.boolean().optional().meta({ description: 'The target refuses whatever would change the volume' }),
})
export type CreateExportBody = z.infer<typeof CreateExportBody>

const RemoveExport = z.object({
  volume,
  wwn,
  delete_volume: z.boolean().optional().meta({ description: 'The volume goes too; it stays unless said' }),
  force: z.boolean().optional().meta({ description: 'Sessions are closed; one that has any is in use unless said' }),
})

const many = <Element extends z.ZodType>(element: Element) => z.array(element).min(1).max(MAX_ELEMENTS)

export const CreateBatchBody = z
  .object({ create: many(CreateExportBody).optional(), delete: many(RemoveExport).optional() })
  .refine((given) => (given.create === undefined) !== (given.delete === undefined), {
    message: 'must have one of: create, delete',
  })
  .meta({ description: 'Exports that are made, or exports that are removed' })
export type CreateBatchBody = z.infer<typeof CreateBatchBody>

export const ExportParams = z.object({
  id: z.string().min(1).max(PATH_MAX).meta({ description: "Its id, or its target's iSCSI name" }),
})
export const BatchParams = z.object({ id: z.uuid() })

const Flag = z
  .enum(['true', 'false'])
  .optional()
  .transform((value) => value === 'true')

export const RemoveQuery = z.object({
  force: Flag.meta({ description: 'Sessions are closed' }),
  delete_volume: Flag.meta({ description: 'The volume goes too' }),
})

export const ExportQuery = PageQuery.extend({
  host: z.string().min(1).max(PATH_MAX).optional().meta({ description: "A host's name" }),
  volume: z.string().min(1).max(PATH_MAX).optional().meta({ description: '`<pool>/<name>`' }),
})

export const ExportView = z.object({
  id: z.uuid(),
  group_id: z.uuid(),
  target: z.string().meta({ description: 'Its iSCSI name' }),
  lun: z.number().int().nullable().meta({
    description: 'Of the target: 0, unless its host keeps that for the controller; null while the host is silent',
  }),
  volume: z.string().meta({ description: '`<pool>/<name>`' }),
  host: z.string(),
  portal: z
    .string()
    .nullable()
    .meta({ description: '`addr:port` where initiators find it; null while its host is silent' }),
  standing: z
    .boolean()
    .nullable()
    .meta({ description: 'False while it is being made again, or cannot be: its volume is away' }),
  initiators: z.array(z.string()).meta({ description: 'Those that may log in' }),
  chap_user: z.string().nullable(),
  readonly: z.boolean().meta({ description: 'The target refuses whatever would change the volume' }),
  sessions: z
    .array(z.object({ initiator: z.string(), address: z.string() }))
    .nullable()
    .meta({ description: 'Those that are logged in now; null while its host is silent' }),
  state: z.enum(STATES),
  created_at: Timestamp,
})
export type ExportView = z.infer<typeof ExportView>

export const ExportPage = pageOf(ExportView)

export const ExportBatchView = z.object({
  id: z.uuid(),
  group_id: z.uuid(),
  type: z.enum(['create', 'delete']),
  phase: z.enum(['pending', 'clone', 'devices', 'targets', 'ended']),
  requested: z.number().int(),
  passed: z.number().int().meta({ description: 'Elements that are done with this phase, failed ones too' }),
  finished: z.number().int().meta({ description: 'Elements that have ended, failed ones too' }),
  done: z.array(
    z.object({
      n: z.number().int().meta({ description: 'Of the list that was asked for, from 0' }),
      volume: z
        .boolean()
        .meta({ description: 'Its volume was cloned or found; of a removal: it is gone, as was asked for' }),
      reused: z.boolean().meta({ description: 'The volume was there already, cloned from the same snapshot' }),
      diverged: z.boolean().meta({ description: 'And was written to since' }),
    }),
  ),
  errors: z.array(
    z.object({
      n: z.number().int(),
      code: z.enum(ERROR_CODES),
      message: z.string(),
      unexported: z.boolean().meta({ description: 'Of a removal: the export is gone, its volume is not' }),
    }),
  ),
  times: z
    .object({ clone_seconds: z.number(), device_seconds: z.number(), target_seconds: z.number() })
    .meta({ description: 'Of the host that took longest in each' }),
  jobs: z.array(
    z.object({
      id: z.uuid(),
      host: z.string(),
      state: z.string(),
      phase: z.string().nullable(),
      finished: z.number().int(),
      error: z.string().nullable(),
    }),
  ),
  created_at: Timestamp,
  started_at: Timestamp.nullable(),
  ended_at: Timestamp.nullable(),
})
export type ExportBatchView = z.infer<typeof ExportBatchView>
