import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { toFleetError } from '../../shared/errors.ts'
import type { Caller } from '../core/caller.ts'
import type { Feed } from '../core/feed.ts'
import { createBatchEncoder, encodeTextFrame } from './transport-encoding.ts'
import { createOutlet } from './transport-outlet.ts'

export const SOCKETS_MAX = 20_000
const PING_INTERVAL_MS = 30_000
/** How long a client may take to answer our close before its connection is cut. */
const CLOSE_TIMEOUT_MS = 5_000
/** Clients have nothing to say; a first message is read and ignored. */
const INCOMING_MAX_BYTES = 4096

const CLOSE_GOING_AWAY = 1001
const CLOSE_INTERNAL = 1011
const CLOSE_TRY_AGAIN = 1013
/** Ours: HTTP's 410 and 401 in the range for applications. */
const CLOSE_EXPIRED = 4410
const CLOSE_UNAUTHORIZED = 4401

/** The one to offer beside the token's; without it the token's own is echoed, since browsers demand that one is. */
const FEED_PROTOCOL = 'holdfast.v1'

interface Upgrade {
  readonly request: IncomingMessage
  readonly connection: Duplex
  readonly head: Buffer
}

interface Subscription {
  readonly caller: Caller
  readonly since: number
  /** Calls `end` when the caller may no longer follow. @returns what to call when it has left by itself. */
  readonly watch: (end: () => void) => () => void
}

interface Client {
  readonly socket: WebSocket
  /** False between a ping and its pong. */
  alive: boolean
}

function chooseProtocol(offered: Set<string>): string | false {
  return offered.has(FEED_PROTOCOL) ? FEED_PROTOCOL : ([...offered][0] ?? false)
}

function end(socket: WebSocket, code: number, reason: string): void {
  socket.close(code, reason)
  setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS).unref()
}

/** Whoever has not answered the ping before is gone. */
function startPinging(clients: ReadonlySet<Client>): NodeJS.Timeout {
  const pinging = setInterval(() => {
    for (const client of clients) {
      if (!client.alive) client.socket.terminate()
      client.alive = false
      client.socket.ping()
    }
  }, PING_INTERVAL_MS)
  return pinging.unref()
}

/**
 * The feed over WebSockets: one text frame per event. `ws` shakes hands, pings and closes; events are framed once and
 * the same bytes written to every client's connection, which costs less than `ws.send` per client and shares the memory.
 * That is sound because `ws` writes whole frames and no extension is negotiated.
 */
export function createFeedSockets(feed: Feed) {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: INCOMING_MAX_BYTES,
    handleProtocols: chooseProtocol,
  })
  const encode = createBatchEncoder(encodeTextFrame)
  const clients = new Set<Client>()

  function serve(socket: WebSocket, connection: Duplex, request: Subscription): void {
    const { caller, since } = request
    const client: Client = { socket, alive: true }
    const gone = new AbortController()
    clients.add(client)
    socket.on('pong', () => {
      client.alive = true
    })
    socket.on('error', () => socket.terminate())
    socket.on('close', () => {
      clients.delete(client)
      gone.abort()
    })
    const finish = (code: number, reason: string) => {
      gone.abort()
      end(socket, code, reason)
    }
    const release = request.watch(() => finish(CLOSE_UNAUTHORIZED, 'unauthorized'))
    gone.signal.addEventListener('abort', release, { once: true })
    const onTooSlow = () => finish(CLOSE_TRY_AGAIN, 'too slow')
    const take = createOutlet({ to: connection, encode, signal: gone.signal, onTooSlow })
    feed.follow({ caller, since, signal: gone.signal }, take).then(
      () => finish(CLOSE_GOING_AWAY, ''),
      (thrown: unknown) => {
        const { code } = toFleetError(thrown)
        finish(code === 'expired' ? CLOSE_EXPIRED : CLOSE_INTERNAL, code)
      },
    )
  }

  const pinging = startPinging(clients)

  return {
    isFull: () => clients.size >= SOCKETS_MAX,

    /** Shakes hands on an upgrade request that is already authorised, and serves it. */
    accept(upgrade: Upgrade & Subscription): void {
      const { request, connection, head } = upgrade
      server.handleUpgrade(request, connection, head, (socket) => serve(socket, connection, upgrade))
    },

    close(): void {
      clearInterval(pinging)
      for (const { socket } of clients) end(socket, CLOSE_GOING_AWAY, 'the server is stopping')
    },

    /** Cuts whoever has not answered the close. */
    terminate(): void {
      for (const { socket } of clients) socket.terminate()
    },
  }
}

export type FeedSockets = ReturnType<typeof createFeedSockets>
