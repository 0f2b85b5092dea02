import { z } from 'zod'
import { actorOn } from '../../core/audit.ts'
import { requireCondition } from '../../core/condition.ts'
import { type HostRemoval, noHost } from '../../core/hosts.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { revokeCredentials, withdrawTokens } from './credential-keys-store.ts'
import { HOST_CHANNEL, lockHost } from './host-store.ts'
import { forgetSecrets } from './volume-end-store.ts'
import { lockVolumes } from './volume-findings.ts'

/** Named in an answer; of more only the first are. */
const MAX_BLOCKERS = 20
const CLEAR_LIMIT = 500

/** What would be lost with the host, in words for a client. */
const blockers = statement(
  'removal_blockers',
  z.object({ blocker: z.string() }),
  `(select 'dataset ' || d.name as blocker
    from pool p
    join dataset d on d.pool_id = p.id
    where p.host_id = $1
    order by d.ordinal
    limit $2)
   union all
   (select 'point ' || p.id
    from point_series s
    join point p on p.series_id = s.id
    where s.host_id = $1
    order by p.ordinal
    limit $2)
   union all
   (select 'export ' || e.wwn
    from pool p
    join export e on e.pool_id = p.id
    where p.host_id = $1
    order by e.wwn
    limit $2)
   union all
   (select 'volume ' || v.path
    from pool p
    join volume v on v.pool_id = p.id
    where p.host_id = $1
    order by v.path
    limit $2)
   union all
   (select 'job ' || j.id
    from job j
    where j.host_id = $1 and j.state in ('queued', 'dispatched', 'running', 'cancelling')
    order by j.ordinal
    limit $2)
   limit $2`,
)

const mark = statement(
  'removal_mark',
  z.object({ name: z.string() }),
  `update host
   set removed_at = now(), state = 'offline', draining = false, seal_public_key = null, inventory_hash = ''
   where id = $1 and removed_at is null
   returning name, pg_notify('${HOST_CHANNEL}', name)`,
)

const unfinished = statement(
  'removal_unfinished',
  z.object({ id: z.string() }),
  `select j.id
   from host h
   join job j on j.host_id = h.id
   where h.removed_at is not null and j.state in ('queued', 'dispatched', 'running', 'cancelling')
   order by j.ordinal
   limit $1`,
)

/** A dataset that a job still works on goes when that has ended; a pool when its last dataset has gone. */
const forget = statement(
  'removal_forget',
  z.object({ datasets: z.number() }),
  `with forgotten as (
     delete from dataset d
     using pool p, host h
     where p.id = d.pool_id and h.id = p.host_id and h.removed_at is not null and not exists (
       select 1 from job j where j.dataset_id = d.id and j.finished_at is null
     )
     returning d.id, d.pool_id
   )
   select count(*)::int as datasets from forgotten`,
)

/** Points that lie on such a host, and with a series its only place. Those on targets stay: others can read them. */
const forgetPoints = statement(
  'removal_forget_points',
  z.object({ points: z.number() }),
  `with forgotten as (
     delete from point p
     using point_series s, host h
     where s.id = p.series_id and h.id = s.host_id and h.removed_at is not null
     returning p.id
   )
   select count(*)::int as points from forgotten`,
)

/** Backups whose points go with such a host are looked at anew. */
const lookAtBackups = statement(
  'removal_look_at_backups',
  z.unknown(),
  `update volume_backup b
   set look_at = now()
   from point_series s, host h
   where s.id = b.series_id and h.id = s.host_id and h.removed_at is not null`,
)

const forgetSeries = statement(
  'removal_forget_series',
  z.unknown(),
  `delete from point_series s
   using host h
   where h.id = s.host_id and h.removed_at is not null and not exists (select 1 from point p where p.series_id = s.id)`,
)

/** They are on its disks still; what it tells when it comes back by enrolment is new. One that a job makes goes with that. */
const forgetInstances = statement(
  'removal_forget_instances',
  z.unknown(),
  `delete from instance i
   using host h
   where h.id = i.host_id and h.removed_at is not null and i.job_id is null`,
)

const forgetLists = statement(
  'removal_forget_instance_lists',
  z.unknown(),
  `delete from instance_list l
   using host h
   where h.id = l.host_id and h.removed_at is not null`,
)

/** Those that a job is about go with that. Secrets that they were the last to have are told. */
const forgetExports = statement(
  'removal_forget_exports',
  z.object({ secret_id: z.string().nullable() }),
  `delete from export e
   using pool p, host h
   where p.id = e.pool_id and h.id = p.host_id and h.removed_at is not null and e.state = 'available'
   returning e.secret_id`,
)

const forgetVolumes = statement(
  'removal_forget_volumes',
  z.unknown(),
  `delete from volume v
   using pool p, host h
   where p.id = v.pool_id and h.id = p.host_id and h.removed_at is not null and v.state = 'available'`,
)

const forgetPools = statement(
  'removal_forget_pools',
  z.unknown(),
  `delete from pool p
   using host h
   where h.id = p.host_id and h.removed_at is not null and not exists (select 1 from dataset d where d.pool_id = p.id)
     and not exists (select 1 from volume v where v.pool_id = p.id) and not exists (select 1 from export e where e.pool_id = p.id)`,
)

export interface RemovalStore {
  readonly mark: HostRemoval['mark']
  /** Unfinished jobs of hosts that were removed. */
  unfinishedJobs(): Promise<readonly string[]>
  /** @returns how many datasets and points were forgotten. */
  forget(): Promise<{ readonly datasets: number; readonly points: number }>
}

export function createRemovalStore(sql: Sql): RemovalStore {
  return {
    mark: (caller, { id, name }, { force, ifMatch }) =>
      sql
        .transaction(async (tx) => {
          const [host] = await tx.rows(lockHost, [id])
          if (host === undefined) throw noHost(name)
          requireCondition(ifMatch, host)
          // Marked before it is looked at. An order that another replica places meanwhile is given up by the sweep.
          await tx.rows(mark, [id])
          const found = (await tx.rows(blockers, [id, MAX_BLOCKERS])).map(({ blocker }) => blocker)
          if (found.length > 0 && !force) throw new Blocked(found)
          const revoked = await revokeCredentials(tx, id)
          await withdrawTokens(tx, name)
          const object = { kind: 'host', id, name }
          await writeAudit(tx, [
            { by: actorOn(null, caller), operation: 'host.remove', object, result: 'done', detail: { force, revoked } },
          ])
          return { blockers: [] }
        })
        .catch((error: unknown) => {
          if (error instanceof Blocked) return { blockers: error.blockers }
          throw error
        }),

    unfinishedJobs: async () => (await sql.rows(unfinished, [CLEAR_LIMIT])).map(({ id }) => id),

    forget: () =>
      sql.transaction(async (tx) => {
        await lockVolumes(tx)
        const [row] = await tx.rows(forget, [])
        const secrets = (await tx.rows(forgetExports, [])).flatMap(({ secret_id: id }) => id ?? [])
        if (secrets.length > 0) await tx.rows(forgetSecrets, [secrets])
        await tx.rows(forgetVolumes, [])
        await tx.rows(forgetPools, [])
        await tx.rows(lookAtBackups, [])
        const [gone] = await tx.rows(forgetPoints, [])
        await tx.rows(forgetSeries, [])
        await tx.rows(forgetInstances, [])
        await tx.rows(forgetLists, [])
        return { datasets: row?.datasets ?? 0, points: gone?.points ?? 0 }
      }),
  }
}

/** Undoes the transaction. */
class Blocked extends Error {
  readonly blockers: readonly string[]

  constructor(blockers: readonly string[]) {
    super('blocked')
    this.blockers = blockers
  }
}
