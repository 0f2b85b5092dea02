import { z } from 'zod'
import { AUDIT_RESULTS } from '../../core/audit.ts'
import { PageQuery, pageOf } from './schemas.ts'

/** An instant with its zone; a date alone would mean another one for everybody. */
const Instant = z.iso.datetime({ offset: true }).transform((text) => new Date(text))
const Word = z.string().min(1).max(500)

export const AuditQuery = PageQuery.extend({
  subject: Word.optional().meta({ description: 'Who did it', example: 'user:alice' }),
  operation: Word.optional().meta({ description: 'What was done', example: 'dataset.delete' }),
  object: Word.optional().meta({ description: 'The id or the name of what it was done to' }),
  result: z.enum(AUDIT_RESULTS).optional(),
  request_id: Word.optional().meta({ description: "An answer's `X-Request-Id`" }),
  job_id: z.uuid().optional(),
  since: Instant.optional().meta({ override: { type: 'string', format: 'date-time' } }),
  until: Instant.optional().meta({
    override: { type: 'string', format: 'date-time' },
    description: 'This instant not included',
  }),
})

export const AuditView = z.object({
  ordinal: z.number().int().meta({ description: 'Its number in the audit; numbers may skip' }),
  at: z.iso.datetime(),
  subject: z.string(),
  user_id: z.uuid().nullable(),
  group_id: z.uuid().nullable().meta({ description: 'The group that was acted for' }),
  via: z.string().nullable().meta({ description: 'The kind of credential; null for none that is known' }),
  address: z.string().nullable(),
  request_id: z.string().nullable(),
  method: z.string().nullable(),
  path: z.string().nullable(),
  operation: z.string(),
  object: z.object({ kind: z.string(), id: z.string().nullable(), name: z.string().nullable() }).nullable(),
  result: z.enum(AUDIT_RESULTS).meta({
    description:
      '`accepted`: the order stands, and a row with the same `job_id` tells its end. `refused`: nothing happened',
  }),
  code: z.string().nullable().meta({ description: 'Why it was refused or failed' }),
  job_id: z.uuid().nullable(),
  detail: z.unknown(),
  chain: z
    .object({ seq: z.number().int(), hash: z.string() })
    .nullable()
    .meta({ description: 'Its place in the chain and its link; null for a second or less' }),
})
export type AuditView = z.infer<typeof AuditView>

export const AuditPage = pageOf(AuditView)
