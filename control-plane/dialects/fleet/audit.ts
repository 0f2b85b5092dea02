import type { AuditRecord } from '../../core/audit.ts'
import { route } from '../../http/route.ts'
import { AuditPage, AuditQuery, type AuditView } from './audit-schemas.ts'

export const listAudit = route({
  operation: 'listAudit',
  method: 'GET',
  path: '/api/v1/audit',
  summary: 'Who did what, from where, and with which result; newest first',
  description: 'Admins of the fleet see everything; the admin of a group sees what was done for that group.',
  access: 'admin',
  status: 200,
  query: AuditQuery,
  result: AuditPage,

  async handle({ query, caller }, core) {
    const { limit, cursor, request_id: requestId, job_id: jobId, ...filter } = query
    const { items, nextCursor } = await core.audit.list(caller, { ...filter, requestId, jobId }, { limit, cursor })
    return { status: 200, body: { items: items.map(present), next_cursor: nextCursor } }
  },
})

function present(row: AuditRecord): AuditView {
  return {
    ordinal: row.ordinal,
    at: row.at.toISOString(),
    subject: row.subject,
    user_id: row.userId,
    group_id: row.groupId,
    via: row.via,
    address: row.address,
    request_id: row.requestId,
    method: row.method,
    path: row.path,
    operation: row.operation,
    object: row.objectKind === null ? null : { kind: row.objectKind, id: row.objectId, name: row.objectName },
    result: row.result,
    code: row.code,
    job_id: row.jobId,
    detail: row.detail ?? null,
    chain: row.chainSeq === null || row.hash === null ? null : { seq: row.chainSeq, hash: row.hash.toString('hex') },
  }
}
