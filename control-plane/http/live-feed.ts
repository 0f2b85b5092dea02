import type { IncomingMessage, ServerResponse } from 'node:http'
import { FleetError } from '../../shared/errors.ts'
import type { Caller, RequestMark } from '../core/caller.ts'
import type { Core } from '../core/core.ts'
import type { FeedStreams } from '../feed/sse.ts'
import type { FeedSockets } from '../feed/websocket.ts'
import type { Authenticator } from './auth.ts'
import type { SocketRoute, StreamRoute } from './route.ts'
import { validate } from './validate.ts'

interface LiveFeedDeps {
  readonly core: Core
  readonly closing: AbortSignal
  readonly auth: Authenticator
  readonly sockets: FeedSockets
  readonly streams: FeedStreams
}

export interface Subscriber {
  readonly caller: Caller
  readonly since: number
  /** Calls `end` once the caller may no longer follow. @returns what to call when it has left by itself. */
  readonly watch: (end: () => void) => () => void
}

/** Already over: `feed.next` then answers without waiting, and throws what `follow` would for a useless `since`. */
const AT_ONCE = AbortSignal.abort()

/** Admits clients to the feed while a refusal can still be an HTTP status. */
export function createLiveFeed({ core, closing, auth, sockets, streams }: LiveFeedDeps) {
  async function admit(
    route: SocketRoute | StreamRoute,
    request: IncomingMessage,
    input: { readonly query: unknown; readonly isFull: boolean; readonly mark: RequestMark },
  ): Promise<Subscriber> {
    const caller = await auth.authorize(request, route, { mark: input.mark, caller: null })
    if (!caller) throw new FleetError('unauthorized', 'credentials are required')
    if (closing.aborted) throw new FleetError('unavailable', 'the server is stopping')
    if (input.isFull) throw new FleetError('busy', 'too many clients follow the feed here')
    const query = validate(route.query, input.query, 'query')
    const given = request.headers['last-event-id']
    const lastEventId = route.kind === 'stream' && given !== undefined ? String(given) : null
    const since = route.since({ query, lastEventId, caller }, core)
    if (since !== core.feed.head()) await core.feed.next({ caller, since, limit: 1, signal: AT_ONCE })
    return { caller, since, watch: (end) => auth.watch(request, { caller, access: route.access }, end) }
  }

  return {
    /** @throws unauthorized, forbidden, busy, invalid, expired: all before the first byte. */
    async openStream(
      route: StreamRoute,
      exchange: {
        readonly request: IncomingMessage
        readonly response: ServerResponse
        readonly query: unknown
        readonly mark: RequestMark
      },
    ): Promise<{ readonly subject: string }> {
      const { request, response, query, mark } = exchange
      const subscriber = await admit(route, request, { query, isFull: streams.isFull(), mark })
      streams.serve(response, subscriber)
      return { subject: subscriber.caller.subject }
    },

    /** @throws as `openStream`. */
    admitSocket(
      route: SocketRoute,
      request: IncomingMessage,
      asked: { readonly query: unknown; readonly id: string },
    ): Promise<Subscriber> {
      return admit(route, request, {
        query: asked.query,
        isFull: sockets.isFull(),
        mark: auth.markOf(request, asked.id),
      })
    },
  }
}

export type LiveFeed = ReturnType<typeof createLiveFeed>
