import { z } from 'zod'
import { createBatcher } from '../../../shared/batcher.ts'
import { Id, newId } from '../../../shared/ids.ts'
import { ROLES, type Role } from '../../core/caller.ts'
import type { Shown } from '../../core/credentials.ts'
import { type Standing, standingOfNetwork } from '../../core/standing.ts'
import { isRefusal, type Sql, statement } from '../sql.ts'

/** On which every replica hears that rights may have changed; the payload names the table. */
export const ACCESS_CHANNEL = 'holdfast_access'

const ROLE = z.enum(ROLES)

/** Everything about each of the credentials asked for, in one statement; whether the user may do anything at all is decided over it. */
const read = statement(
  'credential_read',
  z.object({
    token: z.string().nullable(),
    token_role: ROLE.nullable(),
    token_group_id: z.string().nullable(),
    token_until: z.date().nullable(),
    token_group: z.string().nullable(),
    user_id: z.string().nullable(),
    user: z.string().nullable(),
    user_role: ROLE.nullable(),
    disabled: z.boolean().nullable(),
    memberships: z.array(z.object({ groupId: z.string(), role: ROLE })).nullable(),
    named_group_id: z.string().nullable(),
  }),
  `select s.token, s.token_role, s.token_group_id, s.token_until, tg.name as token_group, s.user_id, u.name as user, u.role as user_role,
     u.disabled, m.memberships, coalesce(by_id.id, by_document_id.id, by_name.id) as named_group_id
   from jsonb_to_recordset($1::jsonb) as a(n integer, kind text, hash text, names text[], group_id uuid, group_name text)
   left join lateral (
     select t.name as token, t.role as token_role, t.group_id as token_group_id, t.expires_at as token_until, t.user_id
     from access_token t
     where a.kind = 'token' and t.hash = decode(a.hash, 'hex') and (t.expires_at is null or t.expires_at > now())
     union all
     select null, null, null, null, session.user_id
     from session
     where a.kind = 'session' and session.hash = decode(a.hash, 'hex') and session.expires_at > now()
     union all
     -- A certificate that stands for two users stands for nobody.
     select null, null, null, null, min(c.user_id::text)::uuid
     from user_certificate c
     where a.kind = 'certificate' and c.name = any(a.names)
     having count(distinct c.user_id) = 1
   ) s on true
   left join user_group tg on tg.id = s.token_group_id
   left join fleet_user u on u.id = s.user_id
   left join lateral (
     select json_agg(json_build_object('groupId', group_id, 'role', role) order by created_at, group_id) as memberships
     from membership
     where user_id = s.user_id
   ) m on true
   left join user_group by_id on by_id.id = a.group_id
   left join user_group by_document_id on by_document_id.document_id = a.group_name
   left join user_group by_name on by_name.name = a.group_name
   order by a.n`,
)

/** A token's use is kept exactly, to the flush; a session's once a minute, and its life grows with it. */
const touch = statement(
  'credential_touch',
  z.unknown(),
  `with used as (
     select decode(hash, 'hex') as hash, to_timestamp(at_ms / 1000) as at
     from unnest($1::text[], $2::double precision[]) as used(hash, at_ms)
   ), tokens as (
     update access_token t
     set last_used_at = used.at
     from used
     where t.hash = used.hash and (t.last_used_at is null or t.last_used_at < used.at)
   )
   update session s
   set used_at = used.at,
     expires_at = least(used.at + make_interval(secs => $3), s.created_at + make_interval(secs => $4))
   from used
   where s.hash = used.hash and s.used_at < used.at - make_interval(secs => $5)`,
)

const ensureToken = statement(
  'token_ensure',
  z.unknown(),
  `insert into access_token (id, group_id, user_id, name, hash, role)
   values ($1, null, null, $2, decode($3, 'hex'), $4)
   on conflict (user_id, group_id, name)
   do update set hash = excluded.hash, role = excluded.role, expires_at = null
   where access_token.hash <> excluded.hash or access_token.role <> excluded.role or access_token.expires_at is not null`,
)

const MAX_GROUP = 256
const MAX_WAITING = 20_000

export const SESSION_IDLE_S = 12 * 3600
export const SESSION_LIFE_S = 7 * 24 * 3600
const SESSION_TOUCH_S = 60

/** What a credential stands for, and the group that the request named: null when there is none such. */
export interface Found {
  readonly standing: Standing | undefined
  readonly namedGroupId: string | null
}

export interface CredentialStore {
  /** @throws unavailable, busy. */
  find(shown: Shown, group: string | undefined): Promise<Found>
  /** Keeps when each was used last, by `Shown.id`. */
  touch(used: ReadonlyMap<string, number>): Promise<void>
  /** Makes the secret of a token of the whole fleet, by its `Shown.id`, be exactly this one. */
  ensure(token: { readonly name: string; readonly id: string; readonly role: Role }): Promise<void>
}

interface Asked {
  readonly shown: Shown
  readonly group: string | undefined
}

export function createCredentialStore(sql: Sql): CredentialStore {
  /** Those that come together are read together: a flood of unknown secrets costs one query at a time. */
  const findTogether = createBatcher<Asked, Found>({
    maxItems: MAX_GROUP,
    maxWaiting: MAX_WAITING,
    mayRetry: isRefusal,
    async work(asked) {
      const rows = await sql.rows(read, [JSON.stringify(asked.map(question))])
      return rows.map((row, n) => ({ standing: standingOf(row, asked[n]?.shown), namedGroupId: row.named_group_id }))
    },
  })

  return {
    find: (shown, group) => findTogether({ shown, group }),
    async touch(used) {
      if (used.size === 0) return
      // In one order, so that replicas that flush together do not wait for each other in a ring.
      const sorted = [...used].toSorted(([left], [right]) => (left < right ? -1 : 1))
      const hashes = sorted.map(([id]) => id)
      const times = sorted.map(([, atMs]) => atMs)
      await sql.rows(touch, [hashes, times, SESSION_IDLE_S, SESSION_LIFE_S, SESSION_TOUCH_S])
    },
    async ensure({ name, id, role }) {
      await sql.rows(ensureToken, [newId(), name, id, role])
    },
  }
}

function question({ shown, group }: Asked, n: number) {
  return {
    n,
    kind: shown.kind,
    hash: shown.kind === 'token' || shown.kind === 'session' ? shown.id : null,
    names: shown.kind === 'certificate' ? shown.names : null,
    group_id: Id.safeParse(group).success ? group : null,
    group_name: group ?? null,
  }
}

function standingOf(row: z.infer<typeof read.row>, shown: Shown | undefined): Standing | undefined {
  if (shown === undefined || row.disabled === true) return undefined
  if (shown.kind === 'network') return standingOfNetwork(shown.id, shown.role)
  if (row.user_id === null && row.token === null) return undefined
  const { token_role: role, token_group_id: groupId, token_until: until } = row
  return {
    subject: subjectOf(row),
    via: shown.kind,
    user: row.user_id === null ? null : { id: row.user_id, role: row.user_role, memberships: row.memberships ?? [] },
    bounds: role === null ? null : { role, groupId, until: until ?? undefined },
  }
}

/**
 * `user:alice`; `token:ci`, `token:ci@team` for one group, `token:alice/ci` with an owner: no two are alike. No name holds a
 * `/`; the `@` of a token's own name is written `%40`, or `ci@team` of the fleet would be told as the team's `ci`.
 */
function subjectOf({ token, token_group: group, user }: z.infer<typeof read.row>): string {
  if (token === null) return `user:${user}`
  const name = token.replaceAll('%', '%25').replaceAll('@', '%40')
  return `token:${user === null ? '' : `${user}/`}${name}${group === null ? '' : `@${group}`}`
}
