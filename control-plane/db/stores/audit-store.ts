import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { AUDIT_RESULTS, type AuditReader, type AuditRecord } from '../../core/audit.ts'
import { type Sql, statement } from '../sql.ts'

const Seq = z.coerce.number()

const AuditRow = z
  .object({
    ordinal: Seq,
    at: z.date(),
    subject: z.string(),
    user_id: z.string().nullable(),
    group_id: z.string().nullable(),
    via: z.string().nullable(),
    address: z.string().nullable(),
    request_id: z.string().nullable(),
    method: z.string().nullable(),
    path: z.string().nullable(),
    operation: z.string(),
    object_kind: z.string().nullable(),
    object_id: z.string().nullable(),
    object_name: z.string().nullable(),
    result: z.enum(AUDIT_RESULTS),
    code: z.string().nullable(),
    job_id: z.string().nullable(),
    detail: z.unknown(),
    chain_seq: Seq.nullable(),
    hash: z.instanceof(Buffer).nullable(),
  })
  .transform(
    ({
      user_id,
      group_id,
      request_id,
      object_kind,
      object_id,
      object_name,
      job_id,
      chain_seq,
      ...row
    }): AuditRecord => ({
      ...row,
      userId: user_id,
      groupId: group_id,
      requestId: request_id,
      objectKind: object_kind,
      objectId: object_id,
      objectName: object_name,
      jobId: job_id,
      chainSeq: chain_seq,
    }),
  )

const COLUMNS = `ordinal, at, subject, user_id, group_id, via, address, request_id, method, path, operation, object_kind,
  object_id, object_name, result, code, job_id, detail, chain_seq, hash`

const FILTERS = `ordinal < coalesce($1::bigint, 9223372036854775807)
     and ($2::text is null or subject = $2)
     and ($3::text is null or operation = $3)
     and ($4::text is null or object_id = $4 or object_name = $4)
     and ($5::text is null or result = $5)
     and ($6::text is null or request_id = $6)
     and ($7::uuid is null or job_id = $7)
     and ($8::timestamptz is null or at >= $8)
     and ($9::timestamptz is null or at < $9)
   order by ordinal desc
   limit $10`

/** Newest first. Each filter is null when it was not asked for. */
const list = statement('audit_list', AuditRow, `select ${COLUMNS} from audit where ${FILTERS}`)

/** Two statements, because a plan that serves both reads every group's rows for one group's few. */
const listOfGroup = statement(
  'audit_list_of_group',
  AuditRow,
  `select ${COLUMNS} from audit where group_id = $11 and ${FILTERS}`,
)

export function createAuditStore(sql: Sql): AuditReader {
  return {
    async list(groupId, filter, { limit, cursor }) {
      const values = [
        parseCursor(cursor),
        filter.subject ?? null,
        filter.operation ?? null,
        filter.object ?? null,
        filter.result ?? null,
        filter.requestId ?? null,
        filter.jobId ?? null,
        filter.since ?? null,
        filter.until ?? null,
        limit + 1,
      ]
      const rows = await (groupId === null ? sql.rows(list, values) : sql.rows(listOfGroup, [...values, groupId]))
      const items = rows.slice(0, limit)
      const last = items.at(-1)
      return { items, nextCursor: rows.length > limit && last ? String(last.ordinal) : null }
    },
  }
}

function parseCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (!/^\d{1,18}$/.test(cursor))
    throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
  return cursor
}
