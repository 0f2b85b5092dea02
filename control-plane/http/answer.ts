import type { ParameterizedContext } from 'koa'
import type { AuditTrail } from './audit-refusal.ts'
import { etagOf, namesEtag } from './etag.ts'
import type { Answer, Dialect, RawAnswer } from './route.ts'

/** What is learnt about a request on its way through. */
export interface RequestState {
  id: string
  dialect: Dialect
  route: string | null
  subject: string | null
  /** Its answer went out with many others: what is told about it can come behind all of them. */
  waited?: boolean
  /** Undefined while no route has taken it. */
  trail?: AuditTrail
}

export type RequestContext = ParameterizedContext<RequestState>

/** Whether the client has this very version already. Sets the validator either way. */
function isKnown(context: RequestContext, etag: string): boolean {
  context.res.setHeader('ETag', etag)
  const known = context.req.headers['if-none-match']
  const reads = context.method === 'GET' || context.method === 'HEAD'
  return known !== undefined && reads && namesEtag(known, etag)
}

/** Puts an answer on the wire as JSON, with its validator. */
export function sendJson(context: RequestContext, answer: Answer): void {
  context.status = answer.status
  for (const name in answer.headers) context.res.setHeader(name, answer.headers[name] ?? '')
  if (answer.body === undefined) {
    context.body = null
    // Koa takes an empty body for 204.
    context.status = answer.status
    return
  }
  const json = JSON.stringify(answer.body)
  const succeeded = answer.status >= 200 && answer.status < 300
  if (succeeded && isKnown(context, answer.etag ?? etagOf(json))) {
    context.status = 304
    return
  }
  context.res.setHeader('Content-Type', 'application/json; charset=utf-8')
  context.body = json
}

/** Puts bytes or a stream on the wire. */
export function sendRaw(context: RequestContext, answer: RawAnswer, contentType: string): void {
  context.status = answer.status
  context.res.setHeader('Content-Type', contentType)
  for (const name in answer.headers) context.res.setHeader(name, answer.headers[name] ?? '')
  if (answer.etag !== undefined && isKnown(context, answer.etag)) context.status = 304
  else context.body = answer.body
}
