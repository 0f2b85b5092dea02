import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RouterContext } from '@koa/router'
import { FleetError } from '../../shared/errors.ts'
import type { Caller, RequestMark } from '../core/caller.ts'
import type { Core } from '../core/core.ts'
import { type RequestState, sendJson, sendRaw } from './answer.ts'
import type { AuditTrail } from './audit-refusal.ts'
import type { Authenticator } from './auth.ts'
import { readForm, readJson, refuseLargeBody } from './body.ts'
import { checkCondition, refuseCondition } from './etag.ts'
import type { Idempotency } from './idempotency.ts'
import { idempotencyKeyOf } from './idempotency-key.ts'
import type { PathEntry } from './paths.ts'
import { ValidatedRequest } from './request.ts'
import type { Answer, RawAnswer, RawRoute, Route, StreamRoute } from './route.ts'
import { validate } from './validate.ts'

export interface DispatchDeps {
  readonly core: Core
  readonly auth: Authenticator
  readonly idempotency: Idempotency
  readonly closing: AbortSignal
  /** Serves the feed over `response` until the client leaves. @throws before the first byte only. */
  readonly openStream: (
    route: StreamRoute,
    exchange: {
      readonly request: IncomingMessage
      readonly response: ServerResponse
      readonly query: unknown
      readonly mark: RequestMark
    },
  ) => Promise<{ readonly subject: string }>
}

export type MatchedContext = RouterContext<RequestState>

/** From a matched path to an answer: authorise, validate, handle, send. */
export function createDispatch({ core, auth, idempotency, closing, openStream }: DispatchDeps) {
  /** Credentials come first: who may not ask learns nothing about what is asked, and sends no body. */
  async function readRequest(context: MatchedContext, route: Route | RawRoute): Promise<ValidatedRequest> {
    const mark = auth.markOf(context.req, context.state.id)
    const trail: AuditTrail = { operation: route.operation, mark, caller: null }
    context.state.trail = trail
    const caller = await auth.authorize(context.req, route, trail)
    context.state.subject = caller?.subject ?? null
    refuseLargeBody(context.req)
    const params = route.params && validate(route.params, context.params, 'path')
    const query = route.query && validate(route.query, context.query, 'query')
    const body = route.body && validate(route.body, await (route.form ? readForm : readJson)(context.req), 'body')
    const parsed = { params, query, body, caller, from: { mark, isSecure: auth.isSecure(context.req) } }
    return new ValidatedRequest(parsed, { request: context.req, response: context.res, closing })
  }

  async function answer(context: MatchedContext, route: Route | RawRoute): Promise<void> {
    const request = await readRequest(context, route)
    if (route.kind === 'raw') return sendRaw(context, await answerRaw(context, route, request), route.contentType)
    if (route.precondition !== 'own') refuseCondition(request, route)
    const key = route.method === 'GET' ? undefined : idempotencyKeyOf(request.headers['idempotency-key'])
    const answered = await (key === undefined || request.caller === undefined
      ? route.handle(request, core)
      : answerOnce(context, route, { request, key, caller: request.caller }))
    if (route.method === 'GET') checkCondition(request, answered)
    sendJson(context, answered)
  }

  /** Public routes have nobody whose key it could be; logins answer secrets, too. */
  function answerOnce(
    { path, state }: MatchedContext,
    route: Route,
    asked: { readonly request: ValidatedRequest; readonly key: string; readonly caller: Caller },
  ): Promise<Answer> {
    const { request, key, caller } = asked
    const { query, body, signal } = request
    const keyed = { key, caller, route, path, query, body, signal, dialect: state.dialect }
    return idempotency.once(keyed, async (holder) => route.handle(request.by(holder), core))
  }

  /** What waits for news is not answered once its credential has ended. */
  async function answerRaw(context: MatchedContext, route: RawRoute, request: ValidatedRequest): Promise<RawAnswer> {
    const { caller } = request
    const { access } = route
    if (!route.waits || caller === undefined || access === 'public') return route.handle(request, core)
    context.state.waited = true
    let isRevoked = false
    const release = auth.watch(context.req, { caller, access }, () => {
      isRevoked = true
      request.end()
    })
    try {
      const answered = await route.handle(request, core)
      if (!isRevoked) return answered
      throw new FleetError('unauthorized', 'the credentials are not known')
    } finally {
      release()
    }
  }

  async function answerStream(context: MatchedContext, route: StreamRoute): Promise<void> {
    const mark = auth.markOf(context.req, context.state.id)
    const exchange = { request: context.req, response: context.res, query: context.query, mark }
    const { subject } = await openStream(route, exchange)
    context.state.subject = subject
    context.respond = false
  }

  /** One router layer per path. A method that it lacks may belong to a less specific pattern, so it passes on. */
  return (entry: PathEntry) =>
    async (context: MatchedContext, next: () => Promise<unknown>): Promise<void> => {
      const method = context.method === 'HEAD' ? 'GET' : context.method
      const stream = context.method === 'GET' && acceptsEvents(context.req) ? entry.stream : undefined
      const found = entry.byMethod.get(method)
      if (!found && !stream) {
        await next()
        return
      }
      context.state.dialect = entry.dialect
      context.state.route = entry.path
      if (stream) await answerStream(context, stream)
      else if (found) await answer(context, found)
    }
}

function acceptsEvents(request: IncomingMessage): boolean {
  return request.headers.accept?.includes('text/event-stream') ?? false
}
