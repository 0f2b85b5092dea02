import { z } from 'zod'
import { newId } from '../../../shared/ids.ts'
import { InstanceState, InstanceType, ReportedInstance } from '../../../shared/instance-spec.ts'
import { DEFAULT_GROUP_ID } from '../../core/caller.ts'
import { foldInstances, type InstanceReport, type StandingInstance } from '../../core/instance-fold.ts'
import { type Sql, statement } from '../sql.ts'
import { settleDisks } from './disk-attachments.ts'
import { lockVolumes } from './volume-findings.ts'

/** Who asks a host has so long until another replica may. */
const CLAIM_SECONDS = 30

/** `claimed`: this replica is to ask the host; nobody else does meanwhile. */
export interface ListClaim {
  readonly hash: string | null
  readonly claimed:
    | {
        readonly hostId: string
        /** How often its list was folded before. */
        readonly folds: number
        /** By the database's clock, ms since the epoch. */
        readonly nowMs: number
      }
    | undefined
}

export interface InstanceFoldStore {
  /** @returns undefined for a host that is none. @param hash what the host tells now: nobody needs to ask for what is known. */
  claim(host: string, hash: string | null): Promise<ListClaim | undefined>
  /** @returns the hash that is kept now; undefined when another replica was there first, and nothing was written. */
  fold(
    claim: NonNullable<ListClaim['claimed']>,
    report: InstanceReport & { readonly hash: string | null },
  ): Promise<{ readonly hash: string | null; readonly changed: number } | undefined>
}

const ensure = statement(
  'instance_list_ensure',
  z.unknown(),
  `insert into instance_list (host_id)
   select id from host where name = $1 and removed_at is null
   on conflict do nothing`,
)

const claim = statement(
  'instance_list_claim',
  z.object({
    host_id: z.string(),
    hash: z.string().nullable(),
    folds: z.coerce.number(),
    now_ms: z.number(),
    claimed: z.boolean(),
  }),
  `with list as (
     select l.host_id, l.hash, l.folds
     from host h
     join instance_list l on l.host_id = h.id
     where h.name = $1 and h.removed_at is null
   ), claimed as (
     update instance_list l
     set asked_at = clock_timestamp()
     from list
     where l.host_id = list.host_id and l.hash is distinct from $2 and (
       l.asked_at is null or l.asked_at < clock_timestamp() - interval '${CLAIM_SECONDS} seconds'
     )
     returning l.host_id
   )
   select list.*, extract(epoch from clock_timestamp())::float8 * 1000 as now_ms, exists (select 1 from claimed) as claimed
   from list`,
)

const lock = statement(
  'instance_list_lock',
  z.object({ folds: z.coerce.number() }),
  'select folds from instance_list where host_id = $1 for update',
)

const Ms = z.number().nullable()

const standing = statement(
  'instance_standing',
  z
    .object({
      id: z.string(),
      type: InstanceType,
      ref: z.string().nullable(),
      name: z.string(),
      state: z.enum(['CREATING', ...InstanceState.options]),
      mounts: ReportedInstance.shape.mounts,
      config_hash: z.string().nullable(),
      being_made: z.boolean(),
      settled_ms: Ms,
      gone_ms: Ms,
    })
    .transform((row): StandingInstance => {
      const {
        config_hash: configHash,
        being_made: isBeingMade,
        settled_ms: settledAtMs,
        gone_ms: goneAtMs,
        ...told
      } = row
      return { ...told, configHash, isBeingMade, settledAtMs, goneAtMs }
    }),
  `select id, type, ref, name, state, mounts, config_hash, job_id is not null as being_made,
     extract(epoch from settled_at)::float8 * 1000 as settled_ms, extract(epoch from gone_at)::float8 * 1000 as gone_ms
   from instance
   where host_id = $1
   order by id
   for no key update`,
)

const write = statement(
  'instance_fold',
  z.unknown(),
  `with told as (
     select *
     from jsonb_to_recordset($3::jsonb) as t(id uuid, type text, instance text, name text, state text, mounts jsonb, "configHash" text)
   ), gone as (
     update instance
     set gone_at = now(), version = version + 1
     where id = any($4::uuid[])
   ), forgotten as (
     delete from instance where id = any($5::uuid[])
   ), kept as (
     insert into instance (id, group_id, host_id, type, ref, name, state, mounts, config_hash, seen_at)
     select id, $2, $1, type, instance, name, state, mounts, "configHash", now()
     from told
     on conflict (id) do update
     set name = excluded.name, state = excluded.state, mounts = excluded.mounts, config_hash = excluded.config_hash,
       seen_at = excluded.seen_at, gone_at = null, version = instance.version + 1
   )
   update instance_list
   set hash = $6, folds = folds + 1, asked_at = null, problems = $7
   where host_id = $1`,
)

/** Folds what hosts tell of their instances into their rows: one host at a time, each list once, whoever of the replicas asks. */
export function createInstanceFoldStore(sql: Sql): InstanceFoldStore {
  return {
    async claim(host, hash) {
      let [row] = await sql.rows(claim, [host, hash])
      if (row === undefined) {
        await sql.rows(ensure, [host])
        ;[row] = await sql.rows(claim, [host, hash])
      }
      if (row === undefined) return undefined
      const { host_id: hostId, folds, now_ms: nowMs } = row
      return { hash: row.hash, claimed: row.claimed ? { hostId, folds, nowMs } : undefined }
    },

    fold: ({ hostId, folds }, report) =>
      sql.transaction(async (tx) => {
        const hasDisks = report.types.some(({ type }) => type === 'libvirt')
        // Before everything else that a transaction locks.
        if (hasDisks) await lockVolumes(tx)
        const [list] = await tx.rows(lock, [hostId])
        if (list?.folds !== folds) return undefined
        const { kept, gone, forgotten, problems, isWhole } = foldInstances(
          await tx.rows(standing, [hostId]),
          report,
          newId,
        )
        const hash = isWhole ? report.hash : null
        const lists = [JSON.stringify(kept), gone, forgotten]
        await tx.rows(write, [hostId, DEFAULT_GROUP_ID, ...lists, hash, JSON.stringify(problems)])
        if (hasDisks) await settleDisks(tx, hostId)
        return { hash, changed: kept.length + gone.length }
      }),
  }
}
