import type { IncomingMessage, ServerResponse } from 'node:http'
import { FleetError } from '../../shared/errors.ts'
import type { Caller } from '../core/caller.ts'
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
}

/** Already over: `feed.next` then answers without waiting, and throws what `follow` would for a useless `since`. */
const AT_ONCE = AbortSignal.abort()

/** Admits clients to the feed while a refusal can still be an HTTP status. */
export function createLiveFeed({ core, closing, auth, sockets, streams }: LiveFeedDeps) {
  async function admit(
    route: SocketRoute | StreamRoute,
    request: IncomingMessage,
    input: { readonly query: unknown; readonly isFull: boolean },
  ): Promise<Subscriber> {
    const caller = await auth.authorize(request, route.access)
    if (!caller) throw new FleetError('unauthorized', 'credentials are required')
    if (closing.aborted) throw new FleetError('unavailable', 'the server is stopping')
    if (input.isFull) throw new FleetError('busy', 'too many clients follow the feed here')
    const query = validate(route.query, input.query, 'query')
    const given = request.headers['last-event-id']
    const lastEventId = route.kind === 'stream' && given !== undefined ? String(given) : null
    const since = route.since({ query, lastEventId, caller }, core)
    if (since !== core.feed.head()) await core.feed.next({ caller, since, limit: 1, signal: AT_ONCE })
    return { caller, since }
  }

  return {
    /** @throws unauthorized, forbidden, busy, invalid, expired: all before the first byte. */
    async openStream(
      route: StreamRoute,
      exchange: { readonly request: IncomingMessage; readonly response: ServerResponse; readonly query: unknown },
    ): Promise<{ readonly subject: string }> {
      const { request, response, query } = exchange
      const subscriber = await admit(route, request, { query, isFull: streams.isFull() })
      streams.serve(response, subscriber)
      return { subject: subscriber.caller.subject }
    },

    /** @throws as `openStream`. */
    admitSocket(route: SocketRoute, request: IncomingMessage, query: unknown): Promise<Subscriber> {
      return admit(route, request, { query, isFull: sockets.isFull() })
    },
  }
}

export type LiveFeed = ReturnType<typeof createLiveFeed>
