import { z } from 'zod'
import { type Sql, statement } from '../sql.ts'

/**
 * Notes a failure before anybody knows that it is one, unless that many are noted already within the window: guesses that
 * run side by side are counted each. One row a key, and in it the times of the newest failures only.
 */
const note = statement(
  'login_failure_note',
  z.object({ noted: z.boolean(), free_at: z.date() }),
  `insert into login_failure as f (key, failed_at, expires_at)
   values (decode($1, 'hex'), array[now()], now() + make_interval(secs => $3))
   on conflict (key) do update set
     failed_at = (
       select array(
         select failed from unnest(f.failed_at) failed where failed > now() - make_interval(secs => $3) order by failed
       ) || case when (
         select count(*) from unnest(f.failed_at) failed where failed > now() - make_interval(secs => $3)
       ) < $2 then array[now()] else '{}'::timestamptz[] end
     ),
     expires_at = now() + make_interval(secs => $3)
   returning failed_at[cardinality(failed_at)] = now() as noted, failed_at[1] + make_interval(secs => $3) as free_at`,
)

const forgetLast = statement(
  'login_failure_forget_last',
  z.unknown(),
  `update login_failure set failed_at = failed_at[1:cardinality(failed_at) - 1] where key = decode($1, 'hex')`,
)

const forget = statement('login_failure_forget', z.unknown(), `delete from login_failure where key = decode($1, 'hex')`)

const PRUNE_AT_ONCE = 10_000

const prune = statement(
  'login_failure_prune',
  z.unknown(),
  `delete from login_failure
   where key in (select key from login_failure where expires_at < now() order by expires_at limit $1)`,
)

/** Failures by a key that all replicas share: 32 bytes in hex. */
export interface LoginFailureStore {
  /** `noted` false: `max` failures are noted already, until `freeAt`. */
  note(
    key: string,
    limit: { readonly max: number; readonly windowS: number },
  ): Promise<{ readonly noted: boolean; readonly freeAt: Date }>
  /** It was no failure after all. */
  forgetLast(key: string): Promise<void>
  forget(key: string): Promise<void>
  prune(): Promise<void>
}

export function createLoginFailureStore(sql: Sql): LoginFailureStore {
  return {
    async note(key, { max, windowS }) {
      const [row] = await sql.rows(note, [key, max, windowS])
      return { noted: row?.noted ?? true, freeAt: row?.free_at ?? new Date() }
    },
    async forgetLast(key) {
      await sql.rows(forgetLast, [key])
    },
    async forget(key) {
      await sql.rows(forget, [key])
    },
    async prune() {
      await sql.rows(prune, [PRUNE_AT_ONCE])
    },
  }
}
