import { z } from 'zod'
import { type Sql, statement } from '../sql.ts'
import { SESSION_IDLE_S, SESSION_LIFE_S } from './credential-store.ts'

/** Sessions that one user may have at a time; the oldest give way. */
const SESSIONS_OF_USER = 100

const account = statement(
  'session_account',
  z.object({ id: z.string(), password: z.string().nullable(), disabled: z.boolean() }),
  'select id, password, disabled from fleet_user where name = $1',
)

const open = statement(
  'session_open',
  z.unknown(),
  `with surplus as (
     delete from session
     where hash in (select hash from session where user_id = $2 order by created_at desc offset $3)
   )
   insert into session (hash, user_id, expires_at)
   values (decode($1, 'hex'), $2, now() + make_interval(secs => $4))`,
)

const SessionRow = z.object({ user: z.string(), created_at: z.date() })

const prolong = statement(
  'session_prolong',
  SessionRow,
  `update session s
   set used_at = now(),
     expires_at = least(now() + make_interval(secs => $2), s.created_at + make_interval(secs => $3))
   from fleet_user u
   where s.hash = decode($1, 'hex') and s.expires_at > now() and u.id = s.user_id and not u.disabled
   returning u.name as user, s.created_at`,
)

const close = statement(
  'session_close',
  SessionRow,
  `delete from session s
   using fleet_user u
   where s.hash = decode($1, 'hex') and s.expires_at > now() and u.id = s.user_id
   returning u.name as user, s.created_at`,
)

const PRUNE_AT_ONCE = 10_000

const prune = statement(
  'session_prune',
  z.unknown(),
  'delete from session where hash in (select hash from session where expires_at < now() order by expires_at limit $1)',
)

export type KeptSession = z.infer<typeof SessionRow>

/** Sessions by `Shown.id`. */
export interface SessionStore {
  /** Whose password is to be compared; undefined: nobody of that name. */
  account(username: string): Promise<z.infer<typeof account.row> | undefined>
  open(id: string, userId: string): Promise<void>
  prolong(id: string): Promise<KeptSession | undefined>
  close(id: string): Promise<KeptSession | undefined>
  /** Drops those that have expired. */
  prune(): Promise<void>
}

export function createSessionStore(sql: Sql): SessionStore {
  return {
    account: async (username) => (await sql.rows(account, [username]))[0],
    async open(id, userId) {
      await sql.rows(open, [id, userId, SESSIONS_OF_USER - 1, SESSION_IDLE_S])
    },
    prolong: async (id) => (await sql.rows(prolong, [id, SESSION_IDLE_S, SESSION_LIFE_S]))[0],
    close: async (id) => (await sql.rows(close, [id]))[0],
    async prune() {
      await sql.rows(prune, [PRUNE_AT_ONCE])
    },
  }
}
