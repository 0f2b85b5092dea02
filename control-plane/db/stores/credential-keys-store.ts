import { z } from 'zod'
import { ADVISORY_LOCKS } from '../advisory-locks.ts'
import { type Sql, statement, type Transaction } from '../sql.ts'

const revokeAll = statement(
  'credential_keys_revoke',
  z.object({ public_key: z.string() }),
  `with ended as (
     delete from host_credential
     where host_id = $1 and public_key is distinct from $2
     returning public_key, expires_at, host_id
   )
   insert into nats_revocation (public_key, expires_at, host_id)
   select public_key, expires_at, host_id from ended
   on conflict (public_key) do nothing
   returning public_key`,
)

/** Ends a host's credentials, but for one key if given. NATS learns of it afterwards. @returns how many ended. */
export async function revokeCredentials(
  tx: Transaction,
  hostId: string,
  except: string | null = null,
): Promise<number> {
  return (await tx.rows(revokeAll, [hostId, except])).length
}

const withdraw = statement(
  'enrolment_withdraw',
  z.unknown(),
  'delete from host_enrolment where name = $1 and used_at is null',
)

/** Tokens that nobody has used yet would let the host in again. */
export async function withdrawTokens(tx: Transaction, host: string): Promise<void> {
  await tx.rows(withdraw, [host])
}

/** A key that is in use: those that were issued before it are over. */
const markUsed = statement(
  'credential_keys_used',
  z.object({ known: z.boolean(), revoked: z.number() }),
  `with mine as (
     select c.host_id, c.issued_at
     from host_credential c
     join host h on h.id = c.host_id
     where c.public_key = $2 and h.name = $1 and h.removed_at is null
     for update of h
   ), used as (
     update host_credential
     set used_at = now()
     from mine
     where public_key = $2 and used_at is null
   ), ended as (
     delete from host_credential c
     using mine
     where c.host_id = mine.host_id and c.public_key <> $2 and c.issued_at < mine.issued_at
     returning c.public_key, c.expires_at, c.host_id
   ), revoked as (
     insert into nats_revocation (public_key, expires_at, host_id)
     select public_key, expires_at, host_id from ended
     on conflict (public_key) do nothing
   )
   select exists (select 1 from mine) as known, (select count(*) from ended)::int as revoked`,
)

/**
 * Keys that one host may leave behind before they end by themselves. Every server holds all of them, and takes no more than
 * fit into one message: a host that changes without end would keep us from turning anybody away.
 */
const LEFT_BEHIND_MAX = 50

/** A host changes over to one key at a time: a successor that was never used makes way for the next. */
const addNext = statement(
  'credential_keys_add_next',
  z.object({ public_key: z.string() }),
  `with mine as (
     select c.host_id
     from host_credential c
     join host h on h.id = c.host_id
     where c.public_key = $2 and h.name = $1 and h.removed_at is null and (
       select count(*) from nats_revocation r where r.host_id = h.id and r.expires_at > now()
     ) < ${LEFT_BEHIND_MAX}
     for update of h
   ), ended as (
     delete from host_credential c
     using mine
     where c.host_id = mine.host_id and c.used_at is null and c.public_key not in ($2, $3)
     returning c.public_key, c.expires_at, c.host_id
   ), revoked as (
     insert into nats_revocation (public_key, expires_at, host_id)
     select public_key, expires_at, host_id from ended
     on conflict (public_key) do nothing
   )
   insert into host_credential as c (public_key, host_id, expires_at)
   select $3, mine.host_id, $4
   from mine
   where not exists (select 1 from nats_revocation r where r.public_key = $3)
   on conflict (public_key) do update
   set expires_at = excluded.expires_at
   where c.host_id = excluded.host_id
   returning public_key`,
)

const Revocation = z.object({ public_key: z.string(), expires_at: z.date() })

const revocations = statement(
  'credential_keys_revocations',
  Revocation,
  'select public_key, expires_at from nats_revocation where expires_at > $1 order by expires_at',
)

/** Claims are replaced as a whole: whoever writes them holds this, so that nobody's revocation is overwritten. */
const lock = statement('credential_keys_lock', z.unknown(), 'select pg_advisory_xact_lock($1)')

const prune = statement(
  'credential_keys_prune',
  z.unknown(),
  `with old as (
     delete from nats_revocation where expires_at < now() - interval '1 day'
   )
   delete from host_enrolment where expires_at < now() - interval '1 day'`,
)

export interface RevokedKey {
  readonly publicKey: string
  readonly expiresAt: Date
}

/** The keys that hosts use, and those that nobody may use any more. */
export interface CredentialKeys {
  /** `revoked`: how many keys this one took the place of. `known` false: no key of that host. */
  used(host: string, publicKey: string): Promise<{ readonly known: boolean; readonly revoked: number }>
  /** @returns false when `publicKey` is not the host's, it has changed too often, or `next` is another's or was revoked. */
  addNext(key: {
    readonly host: string
    readonly publicKey: string
    readonly next: string
    readonly expiresAt: Date
  }): Promise<boolean>
  revocations(): Promise<readonly RevokedKey[]>
  /** Gives what is revoked to one replica at a time. */
  withRevocations(work: (revoked: readonly RevokedKey[]) => Promise<void>): Promise<void>
  prune(): Promise<void>
}

export function createCredentialKeys(sql: Sql): CredentialKeys {
  const read = async (from: Pick<Sql, 'rows'>): Promise<readonly RevokedKey[]> =>
    (await from.rows(revocations, [new Date()])).map((row) => ({
      publicKey: row.public_key,
      expiresAt: row.expires_at,
    }))

  return {
    async used(host, publicKey) {
      const [row] = await sql.rows(markUsed, [host, publicKey])
      return row ?? { known: false, revoked: 0 }
    },
    addNext: async ({ host, publicKey, next, expiresAt }) =>
      (await sql.rows(addNext, [host, publicKey, next, expiresAt])).length > 0,
    revocations: () => read(sql),
    withRevocations: (work) =>
      sql.transaction(async (tx) => {
        await tx.rows(lock, [ADVISORY_LOCKS.claims])
        await work(await read(tx))
      }),
    async prune() {
      await sql.rows(prune, [])
    },
  }
}
