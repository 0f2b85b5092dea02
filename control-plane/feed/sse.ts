import type { ServerResponse } from 'node:http'
import { toFleetError } from '../../shared/errors.ts'
import type { Caller } from '../core/caller.ts'
import type { Feed } from '../core/feed.ts'
import { createBatchEncoder, encodeServerSentEvent } from './transport-encoding.ts'
import { createOutlet } from './transport-outlet.ts'

export const STREAMS_MAX = 20_000
/** Proxies cut connections that are silent for a minute. */
const HEARTBEAT_INTERVAL_MS = 15_000
const RECONNECT_MS = 2_000

interface Subscription {
  readonly caller: Caller
  readonly since: number
  /** Calls `end` when the caller may no longer follow. @returns what to call when it has left by itself. */
  readonly watch: (end: () => void) => () => void
}

/** The feed as server-sent events: `id:` is the sequence number, which a client that reconnects sends back by itself. */
export function createFeedStreams(feed: Feed) {
  const encode = createBatchEncoder(encodeServerSentEvent)
  const open = new Set<ServerResponse>()

  const beating = setInterval(() => {
    for (const response of open) response.write(': still here\n\n')
  }, HEARTBEAT_INTERVAL_MS)
  beating.unref()

  return {
    isFull: () => open.size >= STREAMS_MAX,

    /** Serves one authorised client until it leaves; returns when the headers are written. */
    serve(response: ServerResponse, request: Subscription): void {
      const gone = new AbortController()
      open.add(response)
      response.once('close', () => {
        open.delete(response)
        gone.abort()
      })
      response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'X-Accel-Buffering': 'no' })
      response.write(`retry: ${RECONNECT_MS}\n\n`)
      const fail = (code: string) => response.end(`event: failed\ndata: {"code":"${code}"}\n\n`)
      const release = request.watch(() => {
        gone.abort()
        fail('unauthorized')
      })
      gone.signal.addEventListener('abort', release, { once: true })
      const onTooSlow = () => response.destroy()
      const take = createOutlet({ to: response, encode, signal: gone.signal, onTooSlow })
      const { caller, since } = request
      feed.follow({ caller, since, signal: gone.signal }, take).then(
        () => response.end(),
        (thrown: unknown) => fail(toFleetError(thrown).code),
      )
    },

    close(): void {
      clearInterval(beating)
      for (const response of open) response.end()
    },
  }
}

export type FeedStreams = ReturnType<typeof createFeedStreams>
