import { FleetError } from '../../../shared/errors.ts'
import { raw, socket, stream } from '../../http/route.ts'
import { EventPage, FeedQuery, PollQuery } from './schemas.ts'

const PATH = '/api/v1/events'

/** An EventSource that reconnects repeats its old URL, so its header is the newer word. */
export const streamEvents = stream({
  operation: 'streamEvents',
  path: PATH,
  summary: 'Events as they happen, as server-sent events',
  description: 'Chosen by `Accept: text/event-stream`. Each has its `seq` as `id:`; `Last-Event-ID` resumes.',
  access: 'viewer',
  query: FeedQuery,

  since({ query, lastEventId }, core) {
    if (lastEventId === null) return query.since ?? core.feed.head()
    if (/^\d{1,15}$/.test(lastEventId)) return Number(lastEventId)
    throw new FleetError('invalid', 'Last-Event-ID: must be a whole number', { field: 'Last-Event-ID' })
  },
})

export const socketEvents = socket({
  operation: 'socketEvents',
  path: PATH,
  summary: 'Events as they happen, one JSON text frame each',
  description:
    'Chosen by a WebSocket upgrade. Browsers show a token as the subprotocol `holdfast.token.<token>` beside ' +
    '`holdfast.v1`, and a group as `holdfast.group.<name or id>`. Closes: 1013 too slow, 4401 the credential has ended, 4410 `since` is no longer kept, 1001 the server stops.',
  access: 'viewer',
  query: FeedQuery,

  since: ({ query }, core) => query.since ?? core.feed.head(),
})

export const pollEvents = raw({
  operation: 'pollEvents',
  method: 'GET',
  path: PATH,
  summary: 'Events after `since`, waiting up to `timeout` seconds for the first',
  access: 'viewer',
  status: 200,
  contentType: 'application/json; charset=utf-8',
  waits: true,
  query: PollQuery,
  result: EventPage,
  errors: [410],

  async handle({ query, caller, signal }, core) {
    const { limit, since = core.feed.head() } = query
    const waited = new AbortController()
    const timer = setTimeout(() => waited.abort(), query.timeout * 1000)
    const until = AbortSignal.any([signal, waited.signal])
    try {
      const { events, cursor } = await core.feed.next({ caller, since, limit, signal: until })
      // Core encoded the events once for everybody; decoding them here would cost more than the rest of the request.
      const items = events.map(({ json }) => json).join(',')
      return { status: 200, body: `{"items":[${items}],"next_cursor":${cursor}}` }
    } finally {
      clearTimeout(timer)
    }
  },
})
