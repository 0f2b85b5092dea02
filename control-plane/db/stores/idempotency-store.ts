import { z } from 'zod'
import type { IdempotencyKeys } from '../../core/idempotency.ts'
import { type Sql, statement } from '../sql.ts'

/** A holder that has not renewed for this long is gone. Several times what a busy event loop may be late. */
const HOLD_S = 5
/** How long an answer is kept. */
const KEEP_HOURS = 24
const PRUNE_MAX = 10_000

const AnswerRow = z.object({
  status: z.number(),
  headers: z.record(z.string(), z.string()),
  etag: z.string().optional(),
  body: z.unknown().optional(),
})

/** No row: somebody wrote it between our look and our insert. */
const hold = statement(
  'idempotency_hold',
  z.object({ held: z.boolean(), same: z.boolean(), answer: AnswerRow.nullable() }),
  `with tried as (
     insert into idempotency_key (hash, fingerprint, holder, held_until)
     values (decode($1, 'hex'), decode(($2::text[])[1], 'hex'), $3, now() + make_interval(secs => ${HOLD_S}))
     on conflict (hash) do update
     set holder = excluded.holder, held_until = excluded.held_until
     where encode(idempotency_key.fingerprint, 'hex') = any($2::text[]) and idempotency_key.answer is null
       and idempotency_key.held_until < now()
     returning hash
   )
   select true as held, true as same, null as answer from tried
   union all
   select false, encode(fingerprint, 'hex') = any($2::text[]), answer
   from idempotency_key
   where hash = decode($1, 'hex') and not exists (select from tried)`,
)

const renew = statement(
  'idempotency_renew',
  z.unknown(),
  `with mine as (
     select hash
     from idempotency_key
     where holder = any($1::uuid[]) and answer is null
     order by hash
     for update
   )
   update idempotency_key
   set held_until = now() + make_interval(secs => ${HOLD_S})
   where hash in (select hash from mine)`,
)

const answer = statement(
  'idempotency_answer',
  z.unknown(),
  `update idempotency_key
   set answer = $3
   where hash = decode($1, 'hex') and holder = $2`,
)

/** A key under which nothing was placed is forgotten: the next request with it may be another. */
const release = statement(
  'idempotency_release',
  z.unknown(),
  `with forgotten as (
     delete from idempotency_key
     where hash = decode($1, 'hex') and holder = $2 and placed = '{}' and answer is null
   )
   update idempotency_key
   set held_until = '-infinity'
   where hash = decode($1, 'hex') and holder = $2 and placed <> '{}' and answer is null`,
)

const prune = statement(
  'idempotency_prune',
  z.unknown(),
  `delete from idempotency_key
   where hash in (
     select hash
     from idempotency_key
     where created_at < now() - make_interval(hours => ${KEEP_HOURS})
     order by created_at
     limit ${PRUNE_MAX}
     for update skip locked
   )`,
)

export interface IdempotencyStore extends IdempotencyKeys {
  /** Forgets keys a day after their first request. */
  prune(): Promise<void>
}

export function createIdempotencyStore(sql: Sql): IdempotencyStore {
  return {
    async hold({ hash, fingerprints }, holder) {
      const [row] = await sql.rows(hold, [hash, fingerprints, holder])
      if (row === undefined) return { state: 'waiting' }
      if (row.held) return { state: 'held' }
      if (!row.same) return { state: 'different' }
      return row.answer === null ? { state: 'waiting' } : { state: 'answered', answer: row.answer }
    },

    async renew(holders) {
      await sql.rows(renew, [holders])
    },

    async answer({ hash, holder }, kept) {
      await sql.rows(answer, [hash, holder, JSON.stringify(kept)])
    },

    async release({ hash, holder }) {
      await sql.rows(release, [hash, holder])
    },

    async prune() {
      await sql.rows(prune, [])
    },
  }
}
