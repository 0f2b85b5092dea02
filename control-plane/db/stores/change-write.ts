import assert from 'node:assert/strict'
import { z } from 'zod'
import { isTerminal } from '../../../shared/job-machine.ts'
import { auditOf } from '../../core/change-audit.ts'
import { numberEvent, type UnnumberedEvent } from '../../core/event-body.ts'
import type { FeedEvent } from '../../core/feed.ts'
import { type JobChange, type PointSettlement, pointSettlementsOf, settlementOf } from '../../core/job-change.ts'
import { releasedLane } from '../../core/point-volumes.ts'
import { statement } from '../sql.ts'
import { auditValues, insertAudit } from './audit-write.ts'

/** NOTIFY channel on which replicas hear that the feed grew; the payload is the newest number and who wrote it. */
export const EVENT_CHANNEL = 'holdfast_event'

/**
 * Writes a group of changes and their feed events. A change is written only to the row it was decided on (`from_…`): when
 * another replica was there first, that change and its events are left out. The update of event_head gives out the numbers
 * and, being held to commit, makes every later number commit later. `(… in (select …)) is true` looks ids up in a hash: as a join,
 * Postgres compares each with each, and groups are of thousands after a night's backups.
 */
export const writeChanges = statement(
  'change_write',
  z.object({ base: z.coerce.number(), waiting: z.boolean(), written: z.array(z.string()) }),
  `with changed as (
     update job
     set state = c.state, attempt = c.attempt, announced = true,
       heard_delivery = coalesce(c.heard_delivery, case when c.attempt = job.attempt then job.heard_delivery else 0 end),
       heard_seq = coalesce(c.heard_seq, case when c.attempt = job.attempt then job.heard_seq else 0 end),
       heard_at = case when c.heard_seq is null then job.heard_at else now() end,
       progress = coalesce(c.progress, job.progress), phases = coalesce(c.phases, job.phases),
       result = coalesce(c.result, job.result), error = coalesce(c.error, job.error),
       withdrawn = job.withdrawn or c.withdrawn,
       started_at = case when c.started
         then coalesce(job.started_at, now() - make_interval(secs => coalesce(c.began_ago_ms, 0) / 1000))
         else job.started_at end,
       finished_at = case when c.finished then now() end
     from jsonb_to_recordset($1::jsonb) as c(id uuid, state text, attempt integer, heard_delivery integer, heard_seq integer,
       progress jsonb, phases jsonb, result jsonb, error jsonb, withdrawn boolean, started boolean, finished boolean,
       releases uuid, began_ago_ms double precision, from_state text, from_attempt integer, from_delivery integer, from_seq integer,
       from_announced boolean)
     where job.id = c.id and job.state = c.from_state and job.attempt = c.from_attempt and job.announced = c.from_announced
       and job.heard_delivery = c.from_delivery and job.heard_seq = c.from_seq
     returning job.id, c.finished, c.releases
   ), numbered as (
     -- After the jobs, like every other writer: two that lock both must lock them in one order.
     update event_head
     set seq = seq + $4
     from (select count(*) from changed) as locked
     returning seq - $4 as base
   ), freed as (
     delete from lane_hold h
     using changed c
     where h.job_id = c.id and (c.finished or h.lane = c.releases)
   ), settled as (
     update dataset
     set state = 'available', version = version + 1,
       root_inode = coalesce(s.root_inode, dataset.root_inode), mountpoint = coalesce(s.mountpoint, dataset.mountpoint),
       consistency = coalesce(s.consistency, dataset.consistency)
     from jsonb_to_recordset($2::jsonb) as s(act text, job_id uuid, id uuid, root_inode bigint, mountpoint text, consistency text)
     where dataset.id = s.id and s.act <> 'drop' and (s.job_id in (select id from changed)) is true
     returning dataset.id
   ), pointed as (
     -- After the datasets, like every other writer.
     update point
     set version = version + 1, deleting = point.deleting and not coalesce(s.kept, false),
       status = coalesce(s.status, point.status), made = coalesce(s.made, point.made), error = coalesce(s.error, point.error),
       chain = case when s.detach then '{}' else point.chain end, base_id = case when s.detach then null else point.base_id end,
       full_reason = coalesce(s.made ->> 'fullReason', point.full_reason),
       stored_bytes = coalesce((s.made ->> 'storedBytes')::bigint, point.stored_bytes),
       source_bytes = coalesce((s.made ->> 'sourceBytes')::bigint, point.source_bytes),
       finished_at = case when s.status is null then point.finished_at else now() end,
       verified_at = case when s.verified then now() else point.verified_at end,
       rehearsed_at = case when s.rehearsed_seconds is null then point.rehearsed_at else now() end,
       recovery_seconds = coalesce(s.rehearsed_seconds, point.recovery_seconds),
       damaged_at = case when s.verified then null when s.damage is null then point.damaged_at else now() end,
       damage = case when s.verified then null else coalesce(s.damage, point.damage) end,
       in_trash = case s.moved when 'trash' then point.trashed_at is not null when 'series' then false else point.in_trash end,
       -- What is wanted back by now is owed another move.
       move_at = case when s.moved = 'series' or (s.moved = 'trash' and not point.wanted_back) then null else point.move_at end,
       trashed_at = case when s.moved = 'series' then null else point.trashed_at end,
       purge_at = case when s.moved = 'series' then null else point.purge_at end,
       wanted_back = point.wanted_back and s.moved is distinct from 'series'
     from jsonb_to_recordset($9::jsonb) as s(job_id uuid, id uuid, status text, made jsonb, error jsonb, detach boolean, verified boolean,
       rehearsed_seconds double precision, damage jsonb, kept boolean, moved text, act text), (select count(*) from settled) as locked
     where point.id = s.id and s.act is null and (s.job_id in (select id from changed)) is true
   ), unpointed as (
     delete from point
     where id in (
       select s.id
       from jsonb_to_recordset($9::jsonb) as s(act text, job_id uuid, id uuid)
       where s.act = 'drop' and (s.job_id in (select id from changed)) is true
     )
   ), dropped as (
     delete from dataset
     where id in (
       select s.id
       from jsonb_to_recordset($2::jsonb) as s(act text, job_id uuid, id uuid)
       where s.act = 'drop' and (s.job_id in (select id from changed)) is true
     )
   ), superseded as (
     delete from event
     where type = 'job.progress' and job_id = any($5::uuid[]) and job_id in (select id from changed)
   ), told as (
     insert into event (seq, type, job_id, group_id, body, at)
     select numbered.base + e.n, e.type, e.job_id, e.group_id, e.body, $6
     from json_to_recordset($3::json) as e(n integer, type text, job_id uuid, group_id uuid, body json), numbered
     where e.job_id is null or e.job_id in (select id from changed)
   ), audited as (
     ${insertAudit('$8', '(e.job_id in (select id from changed)) is true')}
   )
   select base, exists (select 1 from lane_hold where not granted) as waiting, array(select id::text from changed) as written,
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

/** What one transaction writes. */
export interface ChangeGroup {
  readonly changes: readonly JobChange[]
  readonly events: readonly UnnumberedEvent[]
  readonly origin: string
}

/** The statement's parameters. @param at becomes the time of the events. */
export function writeValues({ changes, events, origin }: ChangeGroup, at: string): readonly unknown[] {
  const progressed = events.flatMap((event) => (event.type === 'job.progress' && event.jobId ? [event.jobId] : []))
  return [
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
    auditValues(changes.flatMap(auditOf)),
    JSON.stringify(changes.flatMap(pointValues)),
  ]
}

/** What the statement's answer means. */
export function readWritten(
  { changes, events }: ChangeGroup,
  answer: z.infer<(typeof writeChanges)['row']> | undefined,
  at: string,
): Committed {
  assert(answer, 'event_head has no row')
  const written = new Set(answer.written)
  const told = events.flatMap((event, n) => {
    if (event.jobId !== null && !written.has(event.jobId)) return []
    const body = JSON.stringify(event.body)
    return numberEvent({ ...event, body }, { seq: answer.base + n + 1, at })
  })
  return { changes: changes.filter((change) => written.has(change.job.id)), events: told, waiting: answer.waiting }
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
    releases: change.released ? releasedLane(change.job) : null,
    began_ago_ms: change.began?.agoMs ?? null,
    from_state: change.job.state,
    from_attempt: change.job.attempt,
    from_delivery: change.job.heardDelivery,
    from_seq: change.job.heardSeq,
    from_announced: change.job.announced,
  }
}

function settlementValues(change: JobChange) {
  const settlement = settlementOf(change)
  if (settlement === undefined) return undefined
  const { act, id } = settlement
  if (settlement.act !== 'made') return { act, job_id: change.job.id, id }
  const { rootInode, mountpoint, fuzzy } = settlement
  return { act, job_id: change.job.id, id, root_inode: rootInode, mountpoint, consistency: fuzzy ? 'fuzzy' : 'crash' }
}

function pointValues(change: JobChange) {
  return pointSettlementsOf(change).map((settlement) => pointValue(change, settlement))
}

function pointValue(change: JobChange, settlement: PointSettlement) {
  const { id, drop, kept, moved, status, made, error, verified, rehearsedSeconds, damage } = settlement
  return {
    job_id: change.job.id,
    id,
    act: drop ? 'drop' : null,
    status: status ?? null,
    made: made ?? null,
    error: error ?? null,
    // What failed holds nothing, and a full one stands alone: neither keeps others from going.
    detach: status === 'failed' || made?.full === true,
    verified: verified ?? false,
    rehearsed_seconds: rehearsedSeconds ?? null,
    damage: damage ?? null,
    kept: kept ?? false,
    moved: moved ?? null,
  }
}
