import { z } from 'zod'
import type { AuditEntry } from '../../core/audit.ts'
import type { RequestMark } from '../../core/caller.ts'
import { type Sql, statement } from '../sql.ts'
import { auditValues, insertAudit } from './audit-write.ts'
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
  z.object({ user_id: z.string() }),
  `with usable as (
     -- Who changes the password ends the sessions that are there: one that is opened by the old one must be among them, or not be.
     select id from fleet_user where id = $2 and password = $6 and not disabled for share
   ), surplus as (
     delete from session
     where hash in (select hash from session where user_id = $2 order by created_at desc offset $3)
   ), opened as (
     insert into session (hash, user_id, expires_at)
     select decode($1, 'hex'), id, now() + make_interval(secs => $4) from usable
     returning user_id
   ), audited as (
     ${insertAudit('$5', 'exists (select 1 from opened)')}
   )
   select user_id from opened`,
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
  `with closed as (
     delete from session s
     using fleet_user u
     where s.hash = decode($1, 'hex') and s.expires_at > now() and u.id = s.user_id
     returning u.id, u.name, s.created_at
   ), audited as (
     insert into audit (subject, user_id, via, address, request_id, method, path, operation, object_kind, object_id, object_name, result)
     select 'user:' || name, id, 'session', $2, $3, $4, $5, 'session.logout', 'user', id::text, name, 'done'
     from closed
   )
   select name as user, created_at from closed`,
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
  /**
   * With what the audit tells of it.
   * @param user by the password, in PHC format, that was compared. @returns false when it is another by now, or nobody's.
   */
  open(id: string, user: { readonly id: string; readonly password: string }, told: AuditEntry): Promise<boolean>
  prolong(id: string): Promise<KeptSession | undefined>
  close(id: string, request: RequestMark): Promise<KeptSession | undefined>
  /** Drops those that have expired. */
  prune(): Promise<void>
}

export function createSessionStore(sql: Sql): SessionStore {
  return {
    account: async (username) => (await sql.rows(account, [username]))[0],
    async open(id, user, told) {
      const values = [id, user.id, SESSIONS_OF_USER - 1, SESSION_IDLE_S, auditValues([told]), user.password]
      return (await sql.rows(open, values)).length > 0
    },
    prolong: async (id) => (await sql.rows(prolong, [id, SESSION_IDLE_S, SESSION_LIFE_S]))[0],
    close: async (id, mark) => (await sql.rows(close, [id, mark.address, mark.id, mark.method, mark.path]))[0],
    async prune() {
      await sql.rows(prune, [PRUNE_AT_ONCE])
    },
  }
}
