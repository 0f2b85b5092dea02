import { z } from 'zod'
import { isTerminal, JobState } from '../../../shared/job-machine.ts'
import { JobSpec } from '../../../shared/job-spec.ts'
import { eventsOf } from '../../core/change-events.ts'
import { numberEvent, type UnnumberedEvent } from '../../core/event-body.ts'
import type { FeedEvent } from '../../core/feed.ts'
import { type JobChange, type LockedJob, settlementOf } from '../../core/job-change.ts'
import { type Sql, statement, type Transaction } from '../sql.ts'

/** NOTIFY channel on which replicas hear that the feed grew; the payload is the newest number and who wrote it. */
export const EVENT_CHANNEL = 'holdfast_event'

const LockedJobRow = z
  .object({
    id: z.string(),
    group_id: z.string(),
    spec: JobSpec,
    host: z.string(),
    state: JobState,
    attempt: z.number(),
    heard_delivery: z.number(),
    heard_seq: z.number(),
    announced: z.boolean(),
    dataset_id: z.string().nullable(),
    dataset_name: z.string().nullable(),
  })
  .transform(
    (row): LockedJob => ({
      id: row.id,
      groupId: row.group_id,
      kind: row.spec.kind,
      spec: row.spec,
      host: row.host,
      state: row.state,
      attempt: row.attempt,
      heardDelivery: row.heard_delivery,
      heardSeq: row.heard_seq,
      announced: row.announced,
      datasetId: row.dataset_id,
      datasetName: row.dataset_name,
    }),
  )

const LOCKED_JOB_COLUMNS = `j.id, j.group_id, j.spec, h.name as host, j.state, j.attempt, j.heard_delivery, j.heard_seq,
  j.announced, j.dataset_id, j.dataset_name`

const lockJobs = statement(
  'change_lock_jobs',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where j.id = any($1::uuid[])
   order by j.id
   for update of j`,
)

const lockUnannounced = statement(
  'change_lock_unannounced',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where not j.announced and j.created_at < now() - make_interval(secs => $1)
   order by j.ordinal
   limit $2
   for update of j skip locked`,
)

const lockSilent = statement(
  'change_lock_silent',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where j.state in ('dispatched', 'running')
     and j.heard_at < now() - make_interval(secs => $1)
     and (j.state = 'running' or h.state = 'offline')
   order by j.id
   limit $2
   for update of j skip locked`,
)

const lockOverdue = statement(
  'change_lock_overdue',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where j.state in ('queued', 'dispatched') and j.started_at is null and j.not_after < now() and h.name = any($1::text[])
   order by j.id
   limit $2
   for update of j skip locked`,
)

/**
 * Writes a group of changes and their feed events. The update of event_head gives out the numbers and, being held to
 * commit, makes every later number commit later.
 */
const writeChanges = statement(
  'change_write',
  z.object({ base: z.coerce.number(), waiting: z.boolean() }),
  `with numbered as (
     update event_head set seq = seq + $4 returning seq - $4 as base
   ), changed as (
     update job
     set state = c.state, attempt = c.attempt, announced = true,
       heard_delivery = coalesce(c.heard_delivery, case when c.attempt = job.attempt then job.heard_delivery else 0 end),
       heard_seq = coalesce(c.heard_seq, case when c.attempt = job.attempt then job.heard_seq else 0 end),
       heard_at = case when c.heard_seq is null then job.heard_at else now() end,
       progress = coalesce(c.progress, job.progress), phases = coalesce(c.phases, job.phases),
       result = coalesce(c.result, job.result), error = coalesce(c.error, job.error),
       withdrawn = job.withdrawn or c.withdrawn,
       started_at = case when c.started then coalesce(job.started_at, now()) else job.started_at end,
       finished_at = case when c.finished then now() end
     from jsonb_to_recordset($1::jsonb) as c(id uuid, state text, attempt integer, heard_delivery integer, heard_seq integer,
       progress jsonb, phases jsonb, result jsonb, error jsonb, withdrawn boolean, started boolean, finished boolean)
     where job.id = c.id
   ), freed as (
     delete from lane_hold
     where job_id in (select id from jsonb_to_recordset($1::jsonb) as c(id uuid, finished boolean) where finished)
   ), settled as (
     update dataset
     set state = 'available', version = version + 1,
       root_inode = coalesce(s.root_inode, dataset.root_inode), mountpoint = coalesce(s.mountpoint, dataset.mountpoint),
       consistency = coalesce(s.consistency, dataset.consistency)
     from jsonb_to_recordset($2::jsonb) as s(act text, id uuid, root_inode bigint, mountpoint text, consistency text)
     where dataset.id = s.id and s.act <> 'drop'
   ), dropped as (
     delete from dataset
     where id in (select id from jsonb_to_recordset($2::jsonb) as s(act text, id uuid) where act = 'drop')
   ), superseded as (
     delete from event
     where type = 'job.progress' and job_id = any($5::uuid[])
   ), told as (
     insert into event (seq, type, job_id, group_id, body, at)
     select numbered.base + e.n, e.type, e.job_id, e.group_id, e.body, $6
     from json_to_recordset($3::json) as e(n integer, type text, job_id uuid, group_id uuid, body json), numbered
   )
   select base, exists (select 1 from lane_hold where not granted) as waiting,
     pg_notify('${EVENT_CHANNEL}', (base + $4)::text || ' ' || $7)
   from numbered`,
)

/** A committed group of changes: what became of each job, and its events with their numbers. */
export interface Committed {
  readonly changes: readonly JobChange[]
  readonly events: readonly FeedEvent[]
  /** Some job waits for a lane: it may have become free. */
  readonly waiting: boolean
}

export interface ChangeStore {
  /** Locks the jobs, lets `decide` look at each, writes what it answers; one transaction. */
  change(jobIds: readonly string[], decide: (job: LockedJob) => JobChange | undefined): Promise<Committed>
  /** Tells the feed of jobs that nothing has happened to since they were made, `olderThanMs` ago or more. */
  announce(bounds: { readonly olderThanMs: number; readonly limit: number }): Promise<Committed>
  /** Running jobs nobody has heard of for `silentMs`, and sent ones of hosts that are offline. */
  changeSilent(
    bounds: { readonly silentMs: number; readonly limit: number },
    decide: (job: LockedJob) => JobChange | undefined,
  ): Promise<Committed>
  /** Interactive orders of `hosts` that were not started in time. */
  changeOverdue(
    bounds: { readonly hosts: readonly string[]; readonly limit: number },
    decide: (job: LockedJob) => JobChange | undefined,
  ): Promise<Committed>
  /** Events that concern no job. */
  tell(events: readonly UnnumberedEvent[]): Promise<Committed>
}

const NOTHING: Committed = { changes: [], events: [], waiting: false }

/** @param origin tells this replica's notifications from the others'. */
export function createChangeStore(sql: Sql, origin: string): ChangeStore {
  async function changeLocked(
    lock: (tx: Transaction) => Promise<LockedJob[]>,
    decide: (job: LockedJob) => JobChange | undefined,
  ) {
    return sql.transaction(async (tx) => {
      const changes = (await lock(tx)).flatMap((job) => decide(job) ?? [])
      return changes.length === 0 ? NOTHING : write(tx, { changes, events: changes.flatMap(eventsOf), origin })
    })
  }

  return {
    change: (jobIds, decide) => changeLocked((tx) => tx.rows(lockJobs, [jobIds]), decide),

    announce: ({ olderThanMs, limit }) =>
      changeLocked(
        (tx) => tx.rows(lockUnannounced, [olderThanMs / 1000, limit]),
        (job) => ({ job, state: job.state, attempt: job.attempt, passed: [] }),
      ),

    changeSilent: ({ silentMs, limit }, decide) =>
      changeLocked((tx) => tx.rows(lockSilent, [silentMs / 1000, limit]), decide),

    changeOverdue: ({ hosts, limit }, decide) => changeLocked((tx) => tx.rows(lockOverdue, [hosts, limit]), decide),

    tell: (events) => sql.transaction((tx) => write(tx, { changes: [], events, origin })),
  }
}

interface Group {
  readonly changes: readonly JobChange[]
  readonly events: readonly UnnumberedEvent[]
  readonly origin: string
}

async function write(tx: Transaction, { changes, events, origin }: Group): Promise<Committed> {
  const at = new Date().toISOString()
  const progressed = events.flatMap((event) => (event.type === 'job.progress' && event.jobId ? [event.jobId] : []))
  const values = [
    JSON.stringify(changes.map(changeValues)),
    JSON.stringify(changes.flatMap((change) => settlementValues(change) ?? [])),
    JSON.stringify(
      events.map((event, n) => ({
        n: n + 1,
        type: event.type,
        job_id: event.jobId,
        group_id: event.groupId,
        body: event.body,
      })),
    ),
    events.length,
    progressed,
    at,
    origin,
  ]
  const [numbered] = await tx.rowsAndCommit(writeChanges, values)
  if (numbered === undefined) throw new Error('event_head has no row')
  const told = events.map((event, n) => {
    const body = JSON.stringify(event.body)
    return numberEvent({ ...event, body }, { seq: numbered.base + n + 1, at })
  })
  return { changes, events: told, waiting: numbered.waiting }
}

function changeValues(change: JobChange) {
  return {
    id: change.job.id,
    state: change.state,
    attempt: change.attempt,
    heard_delivery: change.heard?.delivery ?? null,
    heard_seq: change.heard?.seq ?? null,
    progress: change.progress ?? null,
    phases: change.phases ?? null,
    result: change.result ?? null,
    error: change.error ?? null,
    withdrawn: change.withdrawn ?? false,
    started: change.heard !== undefined,
    finished: isTerminal(change.state),
  }
}

function settlementValues(change: JobChange) {
  const settlement = settlementOf(change)
  if (settlement === undefined) return undefined
  const { act, id } = settlement
  if (settlement.act !== 'made') return { act, id }
  const { rootInode, mountpoint, fuzzy } = settlement
  return { act, id, root_inode: rootInode, mountpoint, consistency: fuzzy ? 'fuzzy' : 'crash' }
}
