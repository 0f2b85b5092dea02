import { z } from 'zod'
import { numberEvent } from '../../core/event-body.ts'
import type { FeedEvent } from '../../core/feed.ts'
import { type Sql, statement } from '../sql.ts'

const bigint = z.coerce.number()

/** The body is read as text: it is sent as it was written. */
const EventRow = z.object({
  seq: bigint,
  type: z.string(),
  job_id: z.string().nullable(),
  group_id: z.string().nullable(),
  body: z.string(),
  at: z.date(),
})

const bounds = statement(
  'event_bounds',
  z.object({ seq: bigint, pruned_seq: bigint }),
  'select seq, pruned_seq from event_head',
)

/** One snapshot of both: every event up to `head` is either here, superseded or pruned. */
const after = statement(
  'event_after',
  z.object({
    head: bigint,
    seq: bigint.nullable(),
    type: z.string().nullable(),
    job_id: z.string().nullable(),
    group_id: z.string().nullable(),
    body: z.string().nullable(),
    at: z.date().nullable(),
  }),
  `select event_head.seq as head, e.seq, e.type, e.job_id, e.group_id, e.body, e.at
   from event_head
   left join lateral (
     select seq, type, job_id, group_id, body::text as body, at
     from event
     where seq > $1 and ($3::uuid is null or group_id is null or group_id = $3)
     order by seq
     limit $2
   ) e on true
   order by e.seq`,
)

/** Pruned in one go: the head row is locked meanwhile. */
const PRUNE_AT_ONCE = 20_000

const prune = statement(
  'event_prune',
  z.object({ pruned: bigint }),
  `with oldest as (
     select seq, at from event order by seq limit $3
   ), cut as (
     select least(
       greatest(
         (select max(seq) from oldest where at < now() - make_interval(secs => $1)),
         (select seq from event_head) - $2
       ),
       (select max(seq) from oldest)
     ) as seq
   ), head as (
     update event_head set pruned_seq = greatest(pruned_seq, coalesce(cut.seq, 0)) from cut returning pruned_seq
   ), gone as (
     delete from event using head where event.seq <= head.pruned_seq returning 1
   )
   select count(*) as pruned from gone`,
)

export interface EventStore {
  bounds(): Promise<{ readonly head: number; readonly pruned: number }>
  /** Events after `since` that `groupId` may see (null: all), at most `limit`; all up to `through` are accounted for. */
  after(
    since: number,
    limit: number,
    groupId: string | null,
  ): Promise<{ readonly events: readonly FeedEvent[]; readonly through: number }>
  /** Drops events that are too old or too many. @returns how many. */
  prune(bounds: { readonly maxAgeMs: number; readonly maxEvents: number }): Promise<number>
}

export function createEventStore(sql: Sql): EventStore {
  return {
    async bounds() {
      const [row] = await sql.rows(bounds, [])
      return { head: row?.seq ?? 0, pruned: row?.pruned_seq ?? 0 }
    },

    async after(since, limit, groupId) {
      const rows = await sql.rows(after, [since, limit, groupId])
      const events = rows.flatMap((row) => (row.seq === null ? [] : [toFeedEvent(EventRow.parse(row))]))
      const head = rows[0]?.head ?? since
      return { events, through: events.length === limit ? (events.at(-1)?.seq ?? head) : head }
    },

    async prune({ maxAgeMs, maxEvents }) {
      const [row] = await sql.rows(prune, [maxAgeMs / 1000, maxEvents, PRUNE_AT_ONCE])
      return row?.pruned ?? 0
    },
  }
}

function toFeedEvent(row: z.infer<typeof EventRow>): FeedEvent {
  const facts = { type: row.type, jobId: row.job_id, groupId: row.group_id, body: row.body }
  return numberEvent(facts, { seq: row.seq, at: row.at.toISOString() })
}
