import { type IncomingMessage, METHODS, type ServerResponse } from 'node:http'
import Router from '@koa/router'
import Koa from 'koa'
import type { Logger } from '../../shared/logger.ts'
import { type RequestContext, type RequestState, sendJson } from './answer.ts'
import { refusalOf } from './audit-refusal.ts'
import { createDispatch, type DispatchDeps, type MatchedContext } from './dispatch.ts'
import { answerFailure, answerThrown, logThrown } from './failure.ts'
import type { Forwarder } from './forward.ts'
import { allowedMethods, createOwnership, createPrefixes, type PathEntry, pathEntries } from './paths.ts'
import type { RequestFacts } from './request-facts.ts'
import { originForm } from './request-target.ts'
import type { Dialect } from './route.ts'
import { securityHeaders } from './security-headers.ts'

export interface MountDeps extends DispatchDeps {
  readonly dialects: readonly Dialect[]
  readonly logger: Logger
  readonly requestId: (given: string | string[] | undefined) => string
  readonly observe: (facts: RequestFacts) => void
  /** Another service that answers for some paths. */
  readonly forwarder?: Forwarder | undefined
}

/** No route took it: the path is known by other methods, or not at all. */
function createUnmatched(entries: readonly PathEntry[]): (context: MatchedContext) => void {
  const entryOfPath = new Map(entries.map((entry) => [entry.path, entry]))
  return (context) => {
    const matched = (context.matched ?? []).flatMap(({ path }) => entryOfPath.get(String(path)) ?? [])
    const [first] = matched
    if (!first) {
      const message = `there is no ${context.path}`
      sendJson(context, answerFailure(context.state.dialect, { code: 'no_route', message }))
      return
    }
    const headers = { Allow: allowedMethods(matched) }
    context.state.route = first.path
    const message = `${context.method} is not allowed here`
    const refusal = answerFailure(first.dialect, { code: 'method_not_allowed', message }, headers)
    sendJson(context, context.method === 'OPTIONS' ? { status: 204, headers } : refusal)
  }
}

/** What another service answers does not reach our routes. */
function createForwarding(forwarder: Forwarder) {
  return async (context: RequestContext, next: () => Promise<unknown>): Promise<void> => {
    const to = await forwarder.destination(context.req)
    if (to === undefined) return void (await next())
    context.state.route = to.route
    await forwarder.send(context.req, context.res, to)
    context.respond = false
  }
}

/** Koa and its router over the dialects' routes. @returns a listener for `http.createServer`. */
export async function mount(deps: MountDeps) {
  const { logger, closing } = deps
  const entries = pathEntries(deps.dialects)
  const ownerOf = createOwnership(deps.dialects)
  const fixedHeaders = await securityHeaders()

  function prepare(context: RequestContext): void {
    const id = deps.requestId(context.req.headers['x-request-id'])
    context.state = { id, dialect: ownerOf(context.path), route: null, subject: null }
    for (const [name, value] of fixedHeaders) context.res.setHeader(name, value)
    context.res.setHeader('X-Request-Id', id)
    if (closing.aborted) context.res.setHeader('Connection', 'close')
  }

  async function serve(context: RequestContext, next: () => Promise<unknown>): Promise<void> {
    const startedAt = performance.now()
    prepare(context)
    let failure: unknown
    try {
      await next()
    } catch (thrown) {
      failure = thrown
      logThrown(logger, context.state.id, thrown)
      sendJson(context, answerThrown(context.state.dialect, thrown))
    }
    const { id, dialect, route, subject, trail } = context.state
    const refusal = trail && refusalOf({ dialect: dialect.name, trail, status: context.status, thrown: failure })
    if (refusal) deps.core.audit.recordAnswer(refusal)
    const seconds = (performance.now() - startedAt) / 1000
    const { method, status } = context
    const facts: RequestFacts = { id, method, route, dialect: dialect.name, status, seconds, subject }
    if (context.state.waited) setImmediate(deps.observe, facts)
    else deps.observe(facts)
  }

  const router = new Router<RequestState>({ sensitive: true })
  const layer = createDispatch(deps)
  for (const entry of entries) router.register(entry.path, METHODS, layer(entry))

  const app = new Koa<RequestState>()
  // Koa reports here what breaks after the answer began: mostly clients that left.
  app.on('error', (error: unknown) => logger.debug({ event: 'request.broken', err: error }))
  app.use(serve)
  if (deps.forwarder) app.use(createForwarding(deps.forwarder))
  app.use(router.routes())
  const answerUnmatched = createUnmatched(entries)
  // as: the router ran before and left `matched` on the context, also when nothing matched
  app.use((context) => answerUnmatched(context as MatchedContext))
  const callback = app.callback()
  const withoutPrefix = createPrefixes(deps.dialects, ownerOf)
  return (request: IncomingMessage, response: ServerResponse): void => {
    request.url = withoutPrefix(originForm(request.url))
    void callback(request, response)
  }
}
