import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { ErrorCode } from '../../shared/errors.ts'
import type { Caller, RequestMark, Role } from '../core/caller.ts'
import type { Core } from '../core/core.ts'

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** The least role that may call a route; `public` needs no credentials at all. */
export type Access = 'public' | Role

type Headers = Readonly<Record<string, string>>

/** What a handler is given. Schemas that a route does not declare arrive as `undefined`. */
export interface HandlerRequest<Params = unknown, Query = unknown, Body = unknown, Who = Caller | undefined> {
  readonly params: Params
  readonly query: Query
  readonly body: Body
  readonly caller: Who
  readonly headers: IncomingHttpHeaders
  /** Where it comes from. `isSecure`: nobody between the client and us can read it. */
  readonly from: { readonly mark: RequestMark; readonly isSecure: boolean }
  /** Whether `If-Match` names this quoted ETag; undefined when there is no such header. For `precondition: 'own'`. */
  readonly ifMatch: ((etag: string) => boolean) | undefined
  /** Aborts when the client goes away before its answer is written. */
  readonly signal: AbortSignal
  /** Aborts when the server begins to stop: a request that only waits for news answers at once. */
  readonly closing: AbortSignal
}

type CallerFor<A extends Access> = A extends 'public' ? undefined : Caller
type Absent = z.ZodUndefined

/** `body` only where the route declares a `result`. */
type AnswerOf<Status extends number, Result extends z.ZodType> = Result extends Absent
  ? { readonly status: Status; readonly headers?: Headers }
  : { readonly status: Status; readonly body: z.output<Result>; readonly headers?: Headers; readonly etag?: string }

export interface Answer {
  readonly status: number
  readonly body?: unknown
  readonly headers?: Headers
  /** A quoted strong validator of the resource, sent and compared as `ETag`; absent: a hash of the body. */
  readonly etag?: string
}

/**
 * A `:name` in `path` is one segment, a `*name` at its end is whatever follows, slashes included and at least one character;
 * their schemas are in `params`. `operation` is unique within a dialect.
 */
interface Described {
  readonly operation: string
  readonly path: string
  readonly summary: string
  readonly description?: string
  readonly access: Access
  /** Refuses pages of other sites although it asks for no credential: logins. Routes with credentials do where it matters. */
  readonly sameSite?: boolean
}

/**
 * `own`: the handler compares `If-Match`, in the statement or transaction that writes. Routes that change something without
 * saying so refuse the header.
 */
type Precondition = 'own'

interface RouteSpec<
  A extends Access,
  Status extends number,
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Result extends z.ZodType,
> extends Described {
  readonly access: A
  readonly method: Method
  /** The status of success, which `handle` repeats. */
  readonly status: Status
  readonly params?: Params
  readonly query?: Query
  readonly body?: Body
  /** The body may be a form (`a=1&b=2`) as well: one that does not begin with a brace. */
  readonly form?: boolean
  readonly result?: Result
  /** For the document, where success has several statuses: what each answers; null: no body. */
  readonly answers?: Readonly<Record<number, z.ZodType | null>>
  /** Failure statuses beyond what the listener itself answers (400, 401, 403, 405, 413, 500): for the document. */
  readonly errors?: readonly number[]
  readonly precondition?: Precondition
  /** The body as a repeat under one `Idempotency-Key` may show it. Routes whose answers hold a secret must have it. */
  readonly withoutSecrets?: (body: z.output<Result>) => z.output<Result>
  handle(
    request: HandlerRequest<z.output<Params>, z.output<Query>, z.output<Body>, CallerFor<A>>,
    core: Core,
  ): Promise<AnswerOf<Status, Result>> | AnswerOf<Status, Result>
}

/** A route with its types erased: what the listener and the document read. */
export interface Route extends Described {
  readonly kind: 'route'
  readonly method: Method
  readonly status: number
  readonly params?: z.ZodType
  readonly query?: z.ZodType
  readonly body?: z.ZodType
  readonly form?: boolean
  readonly result?: z.ZodType
  readonly answers?: Readonly<Record<number, z.ZodType | null>>
  readonly errors?: readonly number[]
  readonly precondition?: Precondition
  readonly withoutSecrets?: (body: unknown) => unknown
  handle(request: HandlerRequest, core: Core): Promise<Answer> | Answer
}

/** One JSON operation: validated input, one or two core calls, a presented answer. */
export function route<
  A extends Access,
  Status extends number,
  Params extends z.ZodType = Absent,
  Query extends z.ZodType = Absent,
  Body extends z.ZodType = Absent,
  Result extends z.ZodType = Absent,
>(spec: RouteSpec<A, Status, Params, Query, Body, Result>): Route {
  // as: the listener hands `handle` only what these very schemas returned, and a caller wherever `access` wants one
  return { kind: 'route', ...spec } as Route
}

export interface RawAnswer {
  readonly status: number
  readonly body: string | Uint8Array | Readable
  readonly headers?: Headers
  /** A quoted strong validator; without one the answer is never 304. */
  readonly etag?: string
}

interface RawSpec<A extends Access, Params extends z.ZodType, Query extends z.ZodType> extends Described {
  readonly access: A
  readonly method: Method
  readonly status: number
  readonly contentType: string
  readonly params?: Params
  readonly query?: Query
  /** It waits for news: `signal` aborts also when the caller's credential ends. */
  readonly waits?: boolean
  /** What the bytes are, for the document; a string when absent. */
  readonly result?: z.ZodType
  /** Answers carry an `etag`, and may be 304. */
  readonly isCached?: boolean
  /** What an answer's own `Content-Type` may say instead, for the document. */
  readonly otherTypes?: readonly string[]
  readonly errors?: readonly number[]
  handle(
    request: HandlerRequest<z.output<Params>, z.output<Query>, undefined, CallerFor<A>>,
    core: Core,
  ): Promise<RawAnswer> | RawAnswer
}

/** A raw route with its types erased. */
export interface RawRoute extends Omit<Route, 'kind' | 'handle'> {
  readonly kind: 'raw'
  readonly contentType: string
  readonly waits?: boolean
  readonly isCached?: boolean
  readonly otherTypes?: readonly string[]
  handle(request: HandlerRequest, core: Core): Promise<RawAnswer> | RawAnswer
}

/** An operation that writes its own bytes: metrics, pages, archives, JSON that is encoded already. */
export function raw<A extends Access, Params extends z.ZodType = Absent, Query extends z.ZodType = Absent>(
  spec: RawSpec<A, Params, Query>,
): RawRoute {
  // as: see `route`
  return { kind: 'raw', ...spec } as RawRoute
}

/** What decides where a live feed begins. `lastEventId` is what a reconnecting EventSource sends; null elsewhere. */
export interface FeedRequest<Query = unknown> {
  readonly query: Query
  readonly lastEventId: string | null
  readonly caller: Caller
}

interface FeedSpec<Query extends z.ZodType> extends Omit<Described, 'access'> {
  readonly access: Role
  readonly query: Query
  /** The sequence number after which to begin. @throws invalid. */
  since(request: FeedRequest<z.output<Query>>, core: Core): number
}

/** The feed as server-sent events: a GET whose Accept names `text/event-stream`. */
export interface StreamRoute extends Omit<Described, 'access'> {
  readonly kind: 'stream'
  readonly access: Role
  readonly query: z.ZodType
  since(request: FeedRequest, core: Core): number
}

/** The feed over a WebSocket: an upgrade of the same path. */
export interface SocketRoute extends Omit<StreamRoute, 'kind'> {
  readonly kind: 'socket'
}

export function stream<Query extends z.ZodType>(spec: FeedSpec<Query>): StreamRoute {
  return { kind: 'stream', ...spec }
}

export function socket<Query extends z.ZodType>(spec: FeedSpec<Query>): SocketRoute {
  return { kind: 'socket', ...spec }
}

export type AnyRoute = Route | RawRoute | StreamRoute | SocketRoute

/**
 * Core's codes, and those that only a listener knows: no such path, a path without that method, and an `Idempotency-Key`
 * that stands for another request already.
 */
export type FailureCode = ErrorCode | 'no_route' | 'method_not_allowed' | 'key_reused'

/** What went wrong, in words a client may read. */
export interface Failure {
  readonly code: FailureCode
  readonly message: string
  readonly field?: string | undefined
  /** Every field at fault and why, where a request was not valid. */
  readonly issues?: Readonly<Record<string, string>> | undefined
  readonly blockers?: readonly string[] | undefined
}

/** Where most dialects agree; each spreads this and overrides what its document says otherwise. */
export const COMMON_STATUSES: Readonly<Record<FailureCode, number>> = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  no_route: 404,
  method_not_allowed: 405,
  exists: 409,
  conflict: 409,
  cancelled: 409,
  expired: 410,
  stale: 412,
  too_large: 413,
  key_reused: 422,
  refused: 403,
  corrupt: 500,
  internal: 500,
  busy: 503,
  unavailable: 503,
  timeout: 504,
  no_space: 507,
}

/** An exchange that happened, for the document. */
export interface Example {
  /** The route's `operation`. */
  readonly operation: string
  /** What it shows, in a few words. */
  readonly name: string
  readonly status: number
  readonly request?: unknown
  readonly response?: unknown
}

/** One REST language: data about paths and shapes, and how it words failures. */
export interface Dialect {
  readonly name: string
  readonly title: string
  readonly version: string
  readonly description: string
  /** Path prefixes, at segment boundaries, whose failures wear this dialect's envelope; the longest match wins. */
  readonly owns: readonly string[]
  /** May stand in front of any of its paths: `/container-station`. */
  readonly prefix?: string
  readonly statuses: Readonly<Record<FailureCode, number>>
  errorBody(failure: Failure): unknown
  readonly errorSchema: z.ZodType
  /** Schemas that become named components of the document. */
  readonly schemas: Readonly<Record<string, z.ZodType>>
  readonly routes: readonly AnyRoute[]
  readonly examples?: readonly Example[]
}

/**
 * An answer that a route words entirely by itself, where its document does.
 * `cause` is for the log when `status` is 500 or more.
 */
export class WireError extends Error {
  override readonly name = 'WireError'
  readonly status: number
  readonly body: unknown
  readonly headers: Headers

  constructor(status: number, body: unknown, extras: { readonly headers?: Headers; readonly cause?: unknown } = {}) {
    super(`answered ${status}`, extras.cause === undefined ? undefined : { cause: extras.cause })
    this.status = status
    this.body = body
    this.headers = extras.headers ?? {}
  }
}
