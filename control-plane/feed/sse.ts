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
    serve(response: ServerResponse, request: { readonly caller: Caller; readonly since: number }): void {
      const gone = new AbortController()
      open.add(response)
      response.once('close', () => {
        open.delete(response)
        gone.abort()
      })
      response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'X-Accel-Buffering': 'no' })
      response.write(`retry: ${RECONNECT_MS}\n\n`)
      const onTooSlow = () => response.destroy()
      const take = createOutlet({ to: response, encode, signal: gone.signal, onTooSlow })
      feed.follow({ ...request, signal: gone.signal }, take).then(
        () => response.end(),
        (thrown: unknown) => response.end(`event: failed\ndata: {"code":"${toFleetError(thrown).code}"}\n\n`),
      )
    },

    close(): void {
      clearInterval(beating)
      for (const response of open) response.end()
    },
  }
}

export type FeedStreams = ReturnType<typeof createFeedStreams>
