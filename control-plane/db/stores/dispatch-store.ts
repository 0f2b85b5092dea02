import { z } from 'zod'
import { JobSpec } from '../../../shared/job-spec.ts'
import { claims, type Sql, statement } from '../sql.ts'

/** A job that its host is owed, as one message tells it. */
export interface OwedOrder {
  readonly jobId: string
  readonly host: string
  readonly attempt: number
  readonly spec: JobSpec
  readonly notAfterMs: number | null
}

const OwedRow = z
  .object({
    id: z.string(),
    host: z.string(),
    attempt: z.number(),
    spec: JobSpec,
    not_after: z.date().nullable(),
  })
  .transform(
    (row): OwedOrder => ({
      jobId: row.id,
      host: row.host,
      attempt: row.attempt,
      spec: row.spec,
      notAfterMs: row.not_after?.getTime() ?? null,
    }),
  )

/** Queued jobs of hosts that are there, whose lanes nobody who came before wants in a way that excludes them. */
const claim = claims(
  'dispatch_claim',
  OwedRow,
  `with ready as (
     select j.id, h.name as host
     from job j
     join host h on h.id = j.host_id and h.state = 'online'
     where j.state = 'queued' and not exists (
       select 1
       from lane_hold mine
       join lane_hold before on before.lane = mine.lane and before.job_ordinal < mine.job_ordinal
         and (before.exclusive or mine.exclusive)
       where mine.job_id = j.id
     )
     order by j.ordinal
     limit $1
     for update of j skip locked
   ), granted as (
     update lane_hold set granted = true where job_id in (select id from ready)
   )
   update job
   set state = 'dispatched', heard_at = now()
   from ready
   where job.id = ready.id
   returning job.id, ready.host, job.attempt, job.spec, job.not_after`,
)

/**
 * Sent, but nobody has begun: the message may have been lost. An order that only waits for its turn is sent again ever more
 * rarely, each time when it is half as old again; its agent knows a repeat.
 */
const unstarted = claims(
  'dispatch_unstarted',
  OwedRow,
  `with late as (
     select j.id, h.name as host
     from job j
     join host h on h.id = j.host_id and h.state = 'online'
     where j.state = 'dispatched' and j.heard_at < now() - greatest(make_interval(secs => $1), (now() - j.created_at) / 3)
     order by j.ordinal
     limit $2
     for update of j skip locked
   )
   update job
   set heard_at = now()
   from late
   where job.id = late.id
   returning job.id, late.host, job.attempt, job.spec, job.not_after`,
)

const CancelledRow = z.object({ id: z.string(), host: z.string(), attempt: z.number() })

const cancelling = statement(
  'dispatch_cancelling',
  CancelledRow,
  `select j.id, h.name as host, j.attempt
   from job j
   join host h on h.id = j.host_id and h.state = 'online'
   where j.state = 'cancelling'
   order by j.ordinal
   limit $1`,
)

const startable = statement(
  'dispatch_startable',
  z.object({ id: z.string() }),
  `select j.id
   from job j
   join host h on h.id = j.host_id
   where j.id = $1 and j.attempt = $2 and h.name = $3 and j.state in ('queued', 'dispatched', 'running')`,
)

/** Hosts with interactive orders that should have begun by now. */
const overdueHosts = statement(
  'dispatch_overdue_hosts',
  z.object({ host: z.string() }),
  `select distinct h.name as host
   from job j
   join host h on h.id = j.host_id
   where j.state in ('queued', 'dispatched') and j.started_at is null and j.not_after < now()
   limit $1`,
)

export interface DispatchStore {
  claim(limit: number): Promise<readonly OwedOrder[]>
  unstarted(bounds: { readonly afterMs: number; readonly limit: number }): Promise<readonly OwedOrder[]>
  cancelling(
    limit: number,
  ): Promise<readonly { readonly id: string; readonly host: string; readonly attempt: number }[]>
  overdueHosts(limit: number): Promise<readonly string[]>
  /** Whether a late order is still wanted. */
  startable(order: { readonly jobId: string; readonly attempt: number; readonly host: string }): Promise<boolean>
}

export function createDispatchStore(sql: Sql): DispatchStore {
  return {
    claim: (limit) => sql.rows(claim, [limit]),
    unstarted: ({ afterMs, limit }) => sql.rows(unstarted, [afterMs / 1000, limit]),
    cancelling: (limit) => sql.rows(cancelling, [limit]),
    overdueHosts: async (limit) => (await sql.rows(overdueHosts, [limit])).map((row) => row.host),
    startable: async ({ jobId, attempt, host }) => (await sql.rows(startable, [jobId, attempt, host])).length > 0,
  }
}
