import { z } from 'zod'
import { redact } from '../../../shared/redact.ts'
import type { AuditActor, AuditEntry } from '../../core/audit.ts'
import { type Sql, statement } from '../sql.ts'

/** Longer texts come from clients; the row keeps their beginning. */
const TEXT_MAX = 500

/** Who asked and from where, as columns; also for statements that insert audit rows of their own. */
export const ACTOR_COLUMNS = 'subject, user_id, group_id, via, address, request_id, method, path'
const ACTOR_RECORD =
  'subject text, user_id uuid, group_id uuid, via text, address text, request_id text, method text, path text'

/**
 * Inserts what `auditValues` made: the text of a data-modifying CTE, or a statement by itself.
 * @param parameter where the values stand: `$4`.
 * @param condition over the values' columns: which of them to write.
 */
export function insertAudit(parameter: string, condition = 'true'): string {
  return `insert into audit (at, ${ACTOR_COLUMNS}, operation, object_kind, object_id, object_name, result, code, job_id, detail)
   select coalesce(to_timestamp(at_ms / 1000), now()), ${ACTOR_COLUMNS}, operation, object_kind, object_id, object_name, result,
     code, job_id, detail
   from jsonb_to_recordset(${parameter}::jsonb) as e(n integer, at_ms double precision, ${ACTOR_RECORD}, operation text, object_kind text,
     object_id text, object_name text, result text, code text, job_id uuid, detail jsonb)
   where ${condition}
   order by n`
}

const write = statement('audit_write', z.unknown(), insertAudit('$1'))

/** Writes `entries` with the transaction (or connection) they belong to: they stand exactly when what they tell of does. */
export async function writeAudit(tx: Pick<Sql, 'rows'>, entries: readonly AuditEntry[]): Promise<void> {
  if (entries.length > 0) await tx.rows(write, [auditValues(entries)])
}

/** The same inside a transaction of TypeORM's. */
export async function writeAuditWith(
  manager: { query(text: string, values: unknown[]): Promise<unknown> },
  entries: readonly AuditEntry[],
): Promise<void> {
  if (entries.length > 0) await manager.query(write.text, [auditValues(entries)])
}

/** When something happened that is written later; without, the time of the transaction. */
export type TimedEntry = AuditEntry & { readonly atMs?: number }

/** The parameter of `insertAudit`. */
export function auditValues(entries: readonly TimedEntry[]): string {
  return JSON.stringify(
    entries.map((entry, n) => ({
      n,
      at_ms: entry.atMs ?? null,
      ...actorValues(entry.by),
      operation: entry.operation,
      object_kind: entry.object?.kind ?? null,
      object_id: storable(entry.object?.id),
      object_name: storable(entry.object?.name),
      result: entry.result,
      code: entry.code ?? null,
      job_id: entry.jobId ?? null,
      detail: entry.detail === undefined ? null : (JSON.parse(asText(redact(entry.detail))) as unknown),
    })),
  )
}

export function actorValues({ subject, userId, groupId, via, request }: AuditActor) {
  return {
    subject: storable(subject),
    user_id: userId,
    group_id: groupId,
    via,
    address: request?.address ?? null,
    request_id: request?.id ?? null,
    method: request?.method ?? null,
    path: storable(request?.path),
  }
}

/** Postgres takes neither NUL nor half of a surrogate pair; one such text must not cost the others their rows. */
function storable(text: string | null | undefined): string | null {
  if (text === null || text === undefined) return null
  return text.slice(0, TEXT_MAX).toWellFormed().replaceAll('\0', '\ufffd')
}

/** The same for texts within: in JSON they are escapes, and escaped surrogates are always lone. */
function asText(detail: unknown): string {
  return JSON.stringify(detail).replaceAll(/\\u(0000|d[89a-f]..)/g, '\\ufffd')
}
