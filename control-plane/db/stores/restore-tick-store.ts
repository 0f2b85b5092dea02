import { z } from 'zod'
import { JobFailure } from '../../../shared/job-event.ts'
import { JobState } from '../../../shared/job-machine.ts'
import { SOURCE_TYPES } from '../../core/schedules.ts'
import { claims, type Sql, statement } from '../sql.ts'
import { hostOfDataset } from './dataset-host.ts'
import type { Bounds } from './run-store.ts'
import { seriesDirectory } from './schedule-reads.ts'

const LEASE_MS = 10_000

const Owed = z
  .object({
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    type: z.enum(SOURCE_TYPES),
    container: z.string(),
    host: z.string().nullable(),
    start: z.boolean(),
    target_id: z.string().nullable(),
    directory: z.string(),
    portfolio: z.string(),
    expires_at: z.date(),
  })
  .transform(({ group_id: groupId, target_id: targetId, expires_at, ...row }) => ({
    ...row,
    groupId,
    targetId,
    expiresMs: expires_at.getTime(),
  }))
export type OwedRestore = z.infer<typeof Owed>

const claim = claims(
  'restore_claim',
  Owed,
  `update restore_task
   set lease = to_timestamp(($1::float8 + ${LEASE_MS}) / 1000)
   where id in (
     select id
     from restore_task
     where code in ('init', 'waiting') and not disabled
       and (lease is null or lease <= to_timestamp($1::float8 / 1000) or lease > to_timestamp(($1::float8 + 60000) / 1000))
     order by id
     limit $2
     for update skip locked
   )
   returning id, number, group_id, type, container, host, start, target_id, directory, portfolio, expires_at`,
)

const scheduleName = statement(
  'restore_schedule_name',
  z.object({ name: z.string() }),
  `select name
   from schedule
   where group_id = $1 and number = $2::bigint and directory = $3 and target_id is not distinct from $4`,
)

const seriesThere = statement(
  'restore_series_there',
  z.object({ id: z.string() }),
  'select id from point_series where group_id = $1 and directory = $2 and target_id is not distinct from $3 limit 1',
)

/** Where points lie on hosts, those of one host when it is named: others cannot read them. What a good one rests on is good too. */
const findPoint = statement(
  'restore_find_point',
  z.object({ id: z.string() }),
  `select p.id
   from point_series s
   join point p on p.series_id = s.id
   join host h on h.id = p.host_id
   where s.group_id = $1 and s.directory = $2 and s.target_id is not distinct from $3
     and ($4::text is null or p.name = $4)
     and ($4 is not null or (p.status = 'good' and p.damaged_at is null and p.trashed_at is null and not exists (
       select 1 from point b
       where b.id = any(p.chain) and (b.status <> 'good' or b.damaged_at is not null or b.trashed_at is not null or b.deleting)
     )))
     and not p.deleting
     and ($5::text is null or s.target_id is not null or h.name = $5)
   order by p.name desc
   limit 1`,
)

const wait = statement(
  'restore_wait',
  z.unknown(),
  `update restore_task
   set code = 'waiting', reason = $2, lease = to_timestamp($3::float8 / 1000), version = version + 1
   where id = $1 and code in ('init', 'waiting')`,
)

const fail = statement(
  'restore_fail',
  z.unknown(),
  `update restore_task
   set code = 'completed', result = -1, reason = $2, ended_at = to_timestamp($3::float8 / 1000), lease = null, version = version + 1
   where id = $1 and code in ('init', 'waiting')`,
)

const lockEnded = statement(
  'restore_lock_ended',
  z.object({ id: z.string(), state: JobState.nullable(), error: JobFailure.nullable(), stopped: z.boolean() }),
  `select r.id, j.state, j.error, r.stopped_by is not null as stopped
   from restore_task r
   left join job j on j.id = r.job_id
   where r.code = 'running' and (j.id is null or j.finished_at is not null)
   order by r.id
   limit $1
   for update of r skip locked`,
)

const end = statement(
  'restore_end',
  z.unknown(),
  `update restore_task r
   set code = 'completed', result = e.result, reason = e.reason, ended_at = to_timestamp($2::float8 / 1000), version = version + 1
   from jsonb_to_recordset($1::jsonb) as e(id uuid, result smallint, reason text)
   where r.id = e.id`,
)

const stopsOwed = statement(
  'restore_stops_owed',
  z.object({ job_id: z.string(), group_id: z.string(), number: z.coerce.number(), type: z.enum(SOURCE_TYPES) }),
  `select j.id as job_id, r.group_id, r.number, r.type
   from restore_task r
   join job j on j.id = r.job_id
   where r.code = 'running' and r.stopped_by is not null and j.state in ('queued', 'dispatched', 'running')
   limit $1`,
)

export interface EndedRestore {
  readonly state: JobState | null
  readonly message: string | null
  readonly isStopped: boolean
}

/** Restore tasks on their way. Every row is claimed. */
export interface RestoreTickStore {
  claim(bounds: Bounds): Promise<readonly OwedRestore[]>
  /** @param point its name, or null for the newest good one. */
  findPoint(task: OwedRestore, backup: string, point: string | null): Promise<string | undefined>
  /** Of a dataset that is called like the task's container. */
  hostOfDataset(task: Pick<OwedRestore, 'groupId' | 'container'>): Promise<string | undefined>
  wait(id: string, reason: string, untilMs: number): Promise<void>
  fail(id: string, reason: string, nowMs: number): Promise<void>
  settle(
    bounds: Bounds,
    decide: (ended: EndedRestore) => { readonly result: 0 | -1 | -2; readonly reason: string | null },
  ): Promise<number>
  stopsOwed(limit: number): Promise<
    readonly {
      readonly jobId: string
      readonly groupId: string
      readonly number: number
      readonly type: OwedRestore['type']
    }[]
  >
}

export function createRestoreTickStore(sql: Sql): RestoreTickStore {
  /** A name comes before a number. */
  async function seriesOf({ groupId, targetId, directory }: OwedRestore, backup: string): Promise<string> {
    const named = seriesDirectory(directory, backup)
    if (!/^\d{1,15}$/.test(backup)) return named
    const [series] = await sql.rows(seriesThere, [groupId, named, targetId])
    if (series !== undefined) return named
    const [schedule] = await sql.rows(scheduleName, [groupId, backup, directory, targetId])
    return schedule === undefined ? named : seriesDirectory(directory, schedule.name)
  }

  return {
    claim: ({ nowMs, limit }) => sql.rows(claim, [nowMs, limit]),

    async findPoint(task, backup, point) {
      const directory = await seriesOf(task, backup)
      const [found] = await sql.rows(findPoint, [task.groupId, directory, task.targetId, point, task.host])
      return found?.id
    },

    async hostOfDataset({ groupId, container }) {
      const [found] = await sql.rows(hostOfDataset, [groupId, container])
      return found?.host
    },

    async wait(id, reason, untilMs) {
      await sql.rows(wait, [id, reason, untilMs])
    },

    async fail(id, reason, nowMs) {
      await sql.rows(fail, [id, reason, nowMs])
    },

    settle: ({ nowMs, limit }, decide) =>
      sql.transaction(async (tx) => {
        const found = await tx.rows(lockEnded, [limit])
        if (found.length === 0) return 0
        const ends = found.map(({ id, state, error, stopped }) => {
          return { id, ...decide({ state, message: error?.message ?? null, isStopped: stopped }) }
        })
        await tx.rowsAndCommit(end, [JSON.stringify(ends), nowMs])
        return found.length
      }),

    stopsOwed: async (limit) =>
      (await sql.rows(stopsOwed, [limit])).map(({ job_id: jobId, group_id: groupId, ...row }) => ({
        ...row,
        jobId,
        groupId,
      })),
  }
}
