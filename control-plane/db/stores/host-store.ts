import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { InstanceType } from '../../../shared/instance-spec.ts'
import { Capabilities, DriverName, type Inventory } from '../../../shared/wire/messages.ts'
import { actorOn } from '../../core/audit.ts'
import type { Caller } from '../../core/caller.ts'
import type { Host, Pool } from '../../core/hosts.ts'
import type { Page, PageRequest } from '../../core/page.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'

/** NOTIFY channel on which replicas hear that a host's row or pools changed; the payload is its name. */
export const HOST_CHANNEL = 'holdfast_host'

const PoolJson = z
  .object({
    id: z.string(),
    name: z.string(),
    local_name: z.string(),
    driver: DriverName,
    capabilities: Capabilities,
    size_bytes: z.number(),
    free_bytes: z.number(),
  })
  .transform((row) => ({
    id: row.id,
    name: row.name,
    localName: row.local_name,
    driver: row.driver,
    capabilities: row.capabilities,
    sizeBytes: row.size_bytes,
    freeBytes: row.free_bytes,
  }))

const HostRow = z
  .object({
    id: z.string(),
    name: z.string(),
    state: z.enum(['online', 'offline']),
    draining: z.boolean(),
    version: z.string(),
    slots: z.number(),
    restore_paths: z.array(z.string()),
    source_paths: z.array(z.string()),
    backup_root: z.string().nullable(),
    initiator: z.string().nullable(),
    inventory_hash: z.string(),
    last_seen_at: z.date().nullable(),
    credential_expires_at: z.date().nullable(),
    pools: z.array(PoolJson),
    instance_problems: z.array(z.object({ type: InstanceType, message: z.string() })),
  })
  .transform((row) => ({
    id: row.id,
    name: row.name,
    state: row.state,
    draining: row.draining,
    version: row.version,
    slots: row.slots,
    restorePaths: row.restore_paths,
    sourcePaths: row.source_paths,
    backupRoot: row.backup_root,
    initiator: row.initiator,
    inventoryHash: row.inventory_hash,
    lastSeenAt: row.last_seen_at,
    credentialExpiresAt: row.credential_expires_at,
    pools: row.pools.map((pool) => ({ ...pool, host: row.name })),
    instanceProblems: row.instance_problems,
  }))

/** A host with what the registry needs beyond what clients see. */
export type KeptHost = z.infer<typeof HostRow>
export type KeptPool = KeptHost['pools'][number]

const HOST_COLUMNS = `h.id, h.name, h.state, h.draining, h.version, h.slots, h.restore_paths, h.source_paths, h.backup_root, h.initiator,
  h.inventory_hash, h.last_seen_at,
  (select max(c.expires_at) from host_credential c where c.host_id = h.id) as credential_expires_at,
  coalesce((
    select jsonb_agg(jsonb_build_object('id', p.id, 'name', p.name, 'local_name', p.local_name, 'driver', p.driver,
      'capabilities', p.capabilities, 'size_bytes', p.size_bytes, 'free_bytes', p.free_bytes) order by p.local_name)
    from pool p
    where p.host_id = h.id and p.present
  ), '[]') as pools,
  coalesce((select l.problems from instance_list l where l.host_id = h.id), '[]') as instance_problems`

const find = statement(
  'host_find',
  HostRow,
  `select ${HOST_COLUMNS} from host h where (h.name = $1 or h.id::text = $1) and h.removed_at is null`,
)

/** For a change that depends on how the host stands now. */
export const lockHost = statement(
  'host_lock',
  HostRow,
  `select ${HOST_COLUMNS} from host h where h.id = $1 and h.removed_at is null for update of h`,
)

const page = statement(
  'host_page',
  HostRow,
  `select ${HOST_COLUMNS} from host h where h.name > $1 and h.removed_at is null order by h.name limit $2`,
)

const PoolRow = z
  .object({
    id: z.string(),
    name: z.string(),
    host: z.string(),
    driver: DriverName,
    capabilities: Capabilities,
    size_bytes: z.coerce.number(),
    free_bytes: z.coerce.number(),
  })
  .transform(
    (row): Pool => ({
      id: row.id,
      name: row.name,
      host: row.host,
      driver: row.driver,
      capabilities: row.capabilities,
      sizeBytes: row.size_bytes,
      freeBytes: row.free_bytes,
    }),
  )

const POOL_COLUMNS = 'p.id, p.name, h.name as host, p.driver, p.capabilities, p.size_bytes, p.free_bytes'

const poolPage = statement(
  'pool_page',
  PoolRow,
  `select ${POOL_COLUMNS}
   from pool p
   join host h on h.id = p.host_id
   where p.present and p.name > $1 and h.removed_at is null
   order by p.name
   limit $2`,
)

const findPool = statement(
  'pool_find',
  PoolRow,
  `select ${POOL_COLUMNS}
   from pool p
   join host h on h.id = p.host_id
   where (p.name = $1 or p.id::text = $1) and h.removed_at is null`,
)

/**
 * Takes an inventory as the truth about a host. A pool keeps the name it was first given; a name that another host had
 * first becomes `<host>-<name>`. Pools that are no longer reported stay, as absent: datasets of theirs are still known.
 * $8: whoever NATS lets in is a host; otherwise only who was enrolled and still has credentials.
 */
const welcome = statement(
  'host_welcome',
  z.object({ id: z.string() }),
  `with me as (
     insert into host (id, name, state, version, slots, restore_paths, inventory_hash, source_paths, backup_root, initiator,
       last_seen_at)
     select $1, $2, 'online', $3, $4, $5, $6, $9, $10, $11, now()
     where $8 or exists (
       select 1 from host h join host_credential c on c.host_id = h.id where h.name = $2 and h.removed_at is null
     )
     on conflict (name) do update
     set version = excluded.version, slots = excluded.slots, restore_paths = excluded.restore_paths,
       source_paths = excluded.source_paths, backup_root = excluded.backup_root, initiator = excluded.initiator,
       inventory_hash = excluded.inventory_hash, last_seen_at = now(), removed_at = null
     returning id, name
   ), reported as (
     select * from jsonb_to_recordset($7::jsonb) as r(id uuid, name text, driver text, capabilities jsonb, size_bytes bigint, free_bytes bigint)
   ), kept as (
     insert into pool (id, host_id, name, local_name, driver, capabilities, size_bytes, free_bytes)
     select reported.id, me.id,
       case when exists (select 1 from pool p where p.name = reported.name and p.host_id <> me.id)
         then me.name || '-' || reported.name else reported.name end,
       reported.name, driver, capabilities, size_bytes, free_bytes
     from reported, me
     on conflict (host_id, local_name) do update
     set driver = excluded.driver, capabilities = excluded.capabilities, size_bytes = excluded.size_bytes,
       free_bytes = excluded.free_bytes, present = true
   ), absent as (
     update pool set present = false
     from me
     where pool.host_id = me.id and pool.local_name not in (select name from reported)
   )
   select me.id, pg_notify('${HOST_CHANNEL}', me.name) from me`,
)

const sealKey = statement(
  'host_seal_key',
  z.object({ seal_public_key: z.instanceof(Buffer).nullable() }),
  'select seal_public_key from host where name = $1 and removed_at is null',
)

const setState = statement(
  'host_set_state',
  z.object({ name: z.string() }),
  `update host
   set state = $2
   where name = any($1::text[]) and state <> $2
   returning name`,
)

const setDraining = statement(
  'host_set_draining',
  z.object({ name: z.string() }),
  `update host
   set draining = $2
   where id = $1 and draining <> $2 and removed_at is null
   returning name, pg_notify('${HOST_CHANNEL}', name)`,
)

/**
 * What beats told since the last flush; whoever of the replicas flushes first spares the others the write. Answers those that are told to be
 * offline all the same: by a replica that does not hear them.
 */
const seen = statement(
  'host_seen',
  z.object({ name: z.string() }),
  `with heard as (
     select * from unnest($1::text[], $2::bigint[]) as b(name, at_ms)
   ), freed as (
     update pool
     set free_bytes = f.free_bytes
     from unnest($3::uuid[], $4::bigint[]) as f(id, free_bytes)
     where pool.id = f.id and pool.free_bytes <> f.free_bytes
   ), kept as (
     update host
     set last_seen_at = to_timestamp(heard.at_ms / 1000.0)
     from heard
     where host.name = heard.name and (host.last_seen_at is null or host.last_seen_at < now() - interval '4 seconds')
   )
   select host.name from host join heard on heard.name = host.name where host.state = 'offline' and host.removed_at is null`,
)

export interface Sightings {
  readonly hosts: readonly { readonly name: string; readonly atMs: number }[]
  readonly pools: readonly { readonly id: string; readonly freeBytes: number }[]
}

export interface HostStore {
  find(idOrName: string): Promise<KeptHost | undefined>
  page(request: PageRequest): Promise<Page<KeptHost>>
  poolPage(request: PageRequest): Promise<Page<Pool>>
  findPool(idOrName: string): Promise<Pool | undefined>
  /** What secrets are sealed to on their way to it; undefined for a host that was not enrolled. */
  sealKey(name: string): Promise<Buffer | undefined>
  setDraining(caller: Caller, host: Pick<Host, 'id' | 'name'>, draining: boolean): Promise<boolean>
  /** @returns the host's id. @throws refused when it was not enrolled, or has no credentials any more. */
  welcome(hello: {
    readonly name: string
    readonly hash: string
    readonly inventory: Inventory
    /** Every name that NATS lets in is a host. */
    readonly isOpen: boolean
  }): Promise<string>
  /** @returns the hosts whose state this call changed: exactly one replica is told of each change. */
  setState(names: readonly string[], state: Host['state']): Promise<readonly string[]>
  /** @returns those of them whose state is `offline`. */
  seen(sightings: Sightings): Promise<readonly string[]>
}

export function createHostStore(sql: Sql): HostStore {
  return {
    find: async (idOrName) => (await sql.rows(find, [idOrName]))[0],
    findPool: async (idOrName) => (await sql.rows(findPool, [idOrName]))[0],
    page: async ({ limit, cursor }) => cut(await sql.rows(page, [nameAfter(cursor), limit + 1]), limit),
    poolPage: async ({ limit, cursor }) => cut(await sql.rows(poolPage, [nameAfter(cursor), limit + 1]), limit),

    sealKey: async (name) => (await sql.rows(sealKey, [name]))[0]?.seal_public_key ?? undefined,

    setDraining: (caller, { id, name }, draining) =>
      sql.transaction(async (tx) => {
        const [changed] = await tx.rows(setDraining, [id, draining])
        if (changed === undefined) return false
        const operation = draining ? 'host.drain' : 'host.undrain'
        await writeAudit(tx, [
          { by: actorOn(null, caller), operation, object: { kind: 'host', id, name }, result: 'done' },
        ])
        return true
      }),

    async welcome({ name, hash, inventory, isOpen }) {
      const pools = inventory.pools.map((pool) => ({
        id: newId(),
        name: pool.name,
        driver: pool.driver,
        capabilities: pool.capabilities,
        size_bytes: pool.sizeBytes,
        free_bytes: pool.freeBytes,
      }))
      const { version, slots, restorePaths, sourcePaths, backupRoot, initiator = null } = inventory
      const values = [newId(), name, version, slots, JSON.stringify(restorePaths), hash, JSON.stringify(pools)]
      const paths = [JSON.stringify(sourcePaths), backupRoot, initiator]
      const [row] = await sql.rows(welcome, [...values, isOpen, ...paths])
      if (row === undefined) throw new FleetError('refused', `host '${name}' is not enrolled`)
      return row.id
    },

    setState: async (names, state) => (await sql.rows(setState, [names, state])).map((row) => row.name),

    async seen({ hosts, pools }) {
      const values = [
        hosts.map((h) => h.name),
        hosts.map((h) => h.atMs),
        pools.map((p) => p.id),
        pools.map((p) => p.freeBytes),
      ]
      return (await sql.rows(seen, values)).map(({ name }) => name)
    },
  }
}

/** The name that a cursor stands for. @throws invalid. */
function nameAfter(cursor: string | undefined): string {
  if (cursor === undefined) return ''
  const name = Buffer.from(cursor, 'base64url').toString()
  if (Buffer.from(name).toString('base64url') === cursor && /^[a-z0-9-]+$/.test(name)) return name
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}

/** One row more than the limit was read; it tells whether there is a next page. */
function cut<Item extends { readonly name: string }>(rows: readonly Item[], limit: number): Page<Item> {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, nextCursor: rows.length > limit && last ? Buffer.from(last.name).toString('base64url') : null }
}
