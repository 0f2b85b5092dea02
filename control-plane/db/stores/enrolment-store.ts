import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { actorOn, anonymous } from '../../core/audit.ts'
import type { EnrolmentStore, KeptEnrolment, NewCredential } from '../../core/enrolments.ts'
import { type Sql, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { revokeCredentials, withdrawTokens } from './credential-keys-store.ts'
import { HOST_CHANNEL } from './host-store.ts'

const create = statement(
  'enrolment_create',
  z.object({ replaces: z.boolean() }),
  `insert into host_enrolment (id, name, hash, created_by, expires_at)
   values ($1, $2, $3, $4, $5)
   returning exists (select 1 from host where host.name = $2 and removed_at is null) as replaces`,
)

const lock = statement(
  'enrolment_lock',
  z
    .object({
      id: z.string(),
      name: z.string(),
      is_expired: z.boolean(),
      public_key: z.string().nullable(),
      seal_public_key: z.instanceof(Buffer).nullable(),
      holds: z.boolean(),
    })
    .transform(
      (row): KeptEnrolment => ({
        id: row.id,
        name: row.name,
        isExpired: row.is_expired,
        used:
          row.public_key !== null && row.seal_public_key !== null
            ? { natsPublicKey: row.public_key, sealPublicKey: row.seal_public_key }
            : null,
        holds: row.holds,
      }),
    ),
  `select e.id, e.name, e.expires_at <= now() as is_expired, e.public_key, e.seal_public_key,
     exists (select 1 from host_credential c where c.public_key = e.public_key) as holds
   from host_enrolment e
   where e.hash = $1
   for update`,
)

/** A name that was removed may come back: it is the same host to jobs that ran there. */
const admit = statement(
  'enrolment_admit',
  z.object({ id: z.string() }),
  `insert into host (id, name, state, version, slots, restore_paths, inventory_hash, seal_public_key)
   values ($1, $2, 'offline', '', 1, '[]', '', $3)
   on conflict (name) do update
   set seal_public_key = excluded.seal_public_key, removed_at = null,
     enrolled_at = case when host.seal_public_key = excluded.seal_public_key then host.enrolled_at else now() end
   returning id`,
)

/** A key is one host's, and once revoked nobody's. */
const addKey = statement(
  'enrolment_add_key',
  z.object({ public_key: z.string() }),
  `insert into host_credential as c (public_key, host_id, expires_at)
   select $1, $2, $3
   where not exists (select 1 from nats_revocation r where r.public_key = $1)
   on conflict (public_key) do update
   set expires_at = excluded.expires_at
   where c.host_id = excluded.host_id
   returning public_key`,
)

const use = statement(
  'enrolment_use',
  z.unknown(),
  `with used as (
     update host_enrolment
     set used_at = coalesce(used_at, now()), public_key = $2, seal_public_key = $3
     where id = $1
   )
   select pg_notify('${HOST_CHANNEL}', $4)`,
)

const notify = statement('enrolment_notify', z.unknown(), `select pg_notify('${HOST_CHANNEL}', $1)`)

export function createEnrolmentStore(sql: Sql): EnrolmentStore {
  return {
    create: (caller, { id, name, hash, expiresAt }) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(create, [id, name, hash, caller.subject, expiresAt])
        const object = { kind: 'enrolment', id, name }
        await writeAudit(tx, [
          { by: actorOn(null, caller), operation: 'host.enrolment_create', object, result: 'done' },
        ])
        return { replaces: row?.replaces ?? false }
      }),

    redeem: (hash, mark, decide) =>
      sql.transaction(async (tx) => {
        const [found] = await tx.rows(lock, [hash])
        const made = decide(found)
        const { hostId, revoked } = await keep(tx, made)
        // as: a decision without a token throws
        const { id } = found as KeptEnrolment
        await tx.rows(use, [id, made.natsPublicKey, made.sealPublicKey, made.host])
        await writeAudit(tx, [
          {
            by: { ...anonymous(mark), subject: `enrolment:${id}` },
            operation: 'host.enrol',
            object: { kind: 'host', id: hostId, name: made.host },
            result: 'done',
            detail: { public_key: made.natsPublicKey, revoked },
          },
        ])
        return { hostId, revoked }
      }),

    revoke: (caller, host) =>
      sql.transaction(async (tx) => {
        const revoked = await revokeCredentials(tx, host.id)
        await withdrawTokens(tx, host.name)
        await tx.rows(notify, [host.name])
        const object = { kind: 'host', id: host.id, name: host.name }
        await writeAudit(tx, [
          { by: actorOn(null, caller), operation: 'host.revoke', object, result: 'done', detail: { revoked } },
        ])
        return revoked
      }),

    async rotationAsked(caller, { id, name }) {
      const object = { kind: 'host', id, name }
      await writeAudit(sql, [{ by: actorOn(null, caller), operation: 'host.rotate', object, result: 'accepted' }])
    },
  }
}

/** The host with this key and no other. */
async function keep(
  tx: Transaction,
  made: NewCredential,
): Promise<{ readonly hostId: string; readonly revoked: number }> {
  const [host] = await tx.rows(admit, [newId(), made.host, made.sealPublicKey])
  if (host === undefined) throw new FleetError('internal', `host '${made.host}' could not be kept`)
  const revoked = await revokeCredentials(tx, host.id, made.natsPublicKey)
  const [key] = await tx.rows(addKey, [made.natsPublicKey, host.id, made.expiresAt])
  if (key !== undefined) return { hostId: host.id, revoked }
  const field = 'nats_public_key'
  throw new FleetError('invalid', `${field}: is another host's, or was revoked; make a new pair`, { field })
}
