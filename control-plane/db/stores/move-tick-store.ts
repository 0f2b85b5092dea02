import { z } from 'zod'
import { newId } from '../../../shared/ids.ts'
import { InstanceType } from '../../../shared/instance-spec.ts'
import { JobFailure } from '../../../shared/job-event.ts'
import { JobState } from '../../../shared/job-machine.ts'
import { PointMade } from '../../../shared/point-spec.ts'
import { DEFAULT_GROUP_ID } from '../../core/caller.ts'
import type { MoveStanding, StepEnd, Turn } from '../../core/instance-move-steps.ts'
import { MOVE_OUTCOMES, MOVE_PHASES } from '../../core/instance-moves.ts'
import { claims, type Sql, statement } from '../sql.ts'
import type { Bounds } from './run-store.ts'

const LEASE_MS = 10_000

/** Where a move's points lie, below its target's base. */
export function moveDirectory(id: string): string {
  return `migration@${id}`
}

const Owed = z
  .object({
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    instance_id: z.string(),
    ref: z.string().nullable(),
    instance_state: z.string().nullable(),
    type: InstanceType,
    name: z.string(),
    from_host: z.string(),
    to_host: z.string(),
    to_pool: z.string().nullable(),
    target_id: z.string().nullable(),
    start: z.boolean().nullable(),
    was_running: z.boolean().nullable(),
    phase: z.enum(MOVE_PHASES),
    step_id: z.string(),
    outcome: z.enum(MOVE_OUTCOMES).nullable(),
    base_point_id: z.string().nullable(),
    final_point_id: z.string().nullable(),
    dataset_id: z.string().nullable(),
    unsure: z.boolean(),
    stopped_by: z.string().nullable(),
    tries: z.number(),
    denials: z.number(),
    job_id: z.string().nullable(),
    state: JobState.nullable(),
    error: JobFailure.nullable(),
    attempt: z.number().nullable(),
    result: z.unknown(),
  })
  .transform((row) => ({
    ...{ id: row.id, number: row.number, groupId: row.group_id, stepId: row.step_id, tries: row.tries },
    ...{ instanceId: row.instance_id, ref: row.ref, instanceState: row.instance_state, type: row.type, name: row.name },
    ...{ fromHost: row.from_host, toHost: row.to_host, toPool: row.to_pool, targetId: row.target_id, start: row.start },
    ...{ basePointId: row.base_point_id, finalPointId: row.final_point_id, datasetId: row.dataset_id },
    standing: {
      phase: row.phase,
      outcome: row.outcome,
      isStopped: row.stopped_by !== null,
      isUnsure: row.unsure,
      wasRunning: row.was_running,
      denials: row.denials,
    } satisfies MoveStanding,
    /** Of the step's job; null before it is placed. */
    end: row.job_id === null ? null : endOf(row),
  }))
export type OwedMove = z.infer<typeof Owed>

/** Of what is wrong with a file that was read while its instance ran. A socket is no problem. */
const PASSING: ReadonlySet<string> = new Set(['changed', 'vanished', 'socket'])

function endOf(row: {
  readonly state: JobState | null
  readonly error: JobFailure | null
  readonly attempt: number | null
  readonly result?: unknown
}): StepEnd {
  const made = PointMade.safeParse(row.result)
  return {
    ...{ state: row.state, error: row.error, attempt: row.attempt ?? 0 },
    made: made.success
      ? {
          problemCount: made.data.problemCount,
          isMoving: made.data.problems.every(({ reason }) => PASSING.has(reason)),
          isFuzzy: made.data.consistency === 'fuzzy',
          wasHeld: made.data.held !== undefined,
        }
      : undefined,
  }
}

const claim = claims(
  'move_claim',
  Owed,
  `with claimed as (
     update instance_move
     set lease = to_timestamp(($1::float8 + ${LEASE_MS}) / 1000)
     where id in (
       select m.id
       from instance_move m
       where m.ended_at is null
         and (m.lease is null or m.lease <= to_timestamp($1::float8 / 1000) or m.lease > to_timestamp(($1::float8 + 120000) / 1000))
         and not exists (select 1 from job j where j.id = m.job_id and j.finished_at is null)
       order by m.number
       limit $2
       for update skip locked
     )
     returning *
   )
   select m.id, m.number, m.group_id, m.instance_id, i.ref, i.state as instance_state, m.type, m.name, m.from_host, m.to_host, m.to_pool,
     m.target_id, m.start, m.was_running, m.phase, m.step_id, m.outcome, m.base_point_id, m.final_point_id, m.dataset_id, m.unsure,
     m.stopped_by, m.tries, m.job_id, j.state, j.error, j.attempt, j.result,
     (
       select count(*)::int
       from job k
       where k.dataset_id = m.dataset_id and k.kind = 'point.restore' and k.state = 'failed' and k.error ->> 'code' in ('exists', 'conflict')
     ) as denials
   from claimed m
   left join instance i on i.id = m.instance_id and i.gone_at is null
   left join job j on j.id = m.job_id`,
)

/** To another phase, or to another try at this one. Whether it ran is looked at as late as can be. */
const turn = statement(
  'move_turn',
  z.object({ id: z.string() }),
  `update instance_move m
   set phase = $2, step_id = $3, outcome = coalesce($4, m.outcome), reason = nullif(concat_ws('; ', m.reason, $5::text), ''), unsure = m.unsure or $6,
     job_id = null, lease = to_timestamp($7::float8 / 1000), waiting = null, tries = case when m.phase = $2 then m.tries + 1 else 0 end,
     was_running = case when $2 = 'stop' then coalesce(m.was_running, (select i.state <> 'STOPPED' from instance i where i.id = m.instance_id))
       else m.was_running end,
     up_at = case when m.down_at is not null and m.up_at is null and (m.phase = 'restart' or ($4 = 'moved' and coalesce(m.start, m.was_running)))
       then (select j.finished_at from job j where j.id = m.job_id and j.state = 'succeeded') else m.up_at end,
     ended_at = case when $2 = 'ended' then now() end, version = m.version + 1
   where m.step_id = $1
   returning m.id`,
)

/**
 * It stands on its new host, whoever told of it first, and the original says so. Nobody had the name there when it was asked for: whose row
 * is older was gone then, and came back by what the host told; what another group has made under that name since is theirs.
 */
const arrived = statement(
  'move_arrived',
  z.unknown(),
  `with made as (
     update instance i
     set group_id = m.group_id, version = i.version + 1
     from instance_move m, host h
     where m.id = $1 and h.name = m.to_host and i.host_id = h.id and i.type = m.type and i.name = m.name and i.gone_at is null
       and (i.group_id in (m.group_id, $2) or i.created_at < m.created_at)
     returning i.id
   ), linked as (
     update instance_move set made_instance_id = (select id from made limit 1) where id = $1
   )
   update instance i
   set moved_to = m.to_host, version = i.version + 1
   from instance_move m
   where m.id = $1 and i.id = m.instance_id`,
)

const postpone = statement(
  'move_postpone',
  z.unknown(),
  `update instance_move
   set waiting = $2, lease = to_timestamp($3::float8 / 1000), tries = tries + 1, version = version + 1
   where step_id = $1 and job_id is null`,
)

const UnderWay = z
  .object({
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    phase: z.enum(MOVE_PHASES),
    to_host: z.string(),
    waiting: z.string().nullable(),
    stopped_by: z.string().nullable(),
    job_id: z.string(),
    host: z.string(),
    state: JobState,
  })
  .transform(({ group_id: groupId, to_host: toHost, stopped_by: stoppedBy, job_id: jobId, ...row }) => ({
    ...row,
    ...{ groupId, toHost, jobId, isStopped: stoppedBy !== null },
  }))

/** Whose jobs go on. */
const underWay = statement(
  'move_under_way',
  UnderWay,
  `select m.id, m.number, m.group_id, m.phase, m.to_host, m.waiting, m.stopped_by, m.job_id, h.name as host, j.state
   from instance_move m
   join job j on j.id = m.job_id
   join host h on h.id = j.host_id
   where m.ended_at is null and j.finished_at is null
   order by m.number
   limit $1`,
)

const tell = statement(
  'move_tell',
  z.unknown(),
  `update instance_move set waiting = $2, version = version + 1 where id = $1 and waiting is distinct from $2`,
)

const there = statement(
  'move_there',
  z.object({ state: z.string() }),
  `select i.state
   from instance i
   join host h on h.id = i.host_id
   where h.name = $1 and i.type = $2 and i.name = $3 and i.gone_at is null and i.ref is not null`,
)

const datasetOf = statement(
  'move_dataset',
  z.object({ name: z.string(), state: z.string() }),
  'select name, state from dataset where id = $1',
)

/** Those that rest on others first. */
const pointsOf = statement(
  'move_points',
  z.object({ id: z.string(), deleting: z.boolean() }),
  `select p.id, p.deleting
   from point_series s
   join point p on p.series_id = s.id
   where s.group_id = $1 and s.target_id = $2 and s.directory like $3
   order by p.name desc`,
)

/** Moves on their way. Every row is claimed; what is written for one says which step it is of, and nothing is when that is another by now. */
export interface MoveTickStore {
  claim(bounds: Bounds): Promise<readonly OwedMove[]>
  turn(move: Pick<OwedMove, 'id' | 'stepId'>, to: Turn, atMs: number): Promise<void>
  postpone(move: Pick<OwedMove, 'stepId'>, why: string | null, untilMs: number): Promise<void>
  underWay(limit: number): Promise<readonly z.infer<typeof UnderWay>[]>
  /** What it waits for; null: nothing any more. */
  tell(id: string, waiting: string | null): Promise<void>
  /** The state of the instance of its name on the host that it goes to. */
  there(move: Pick<OwedMove, 'toHost' | 'type' | 'name'>): Promise<string | undefined>
  dataset(id: string): Promise<{ readonly name: string; readonly state: string } | undefined>
  points(
    move: Pick<OwedMove, 'id' | 'groupId' | 'targetId'>,
  ): Promise<readonly { readonly id: string; readonly deleting: boolean }[]>
}

export function createMoveTickStore(sql: Sql): MoveTickStore {
  return {
    claim: ({ nowMs, limit }) => sql.rows(claim, [nowMs, limit]),

    turn: ({ id, stepId }, { phase, outcome, reason, unsure = false }, atMs) =>
      sql.transaction(async (tx) => {
        const values = [stepId, phase, newId(), outcome ?? null, reason ?? null, unsure, atMs]
        const [turned] = await tx.rows(turn, values)
        if (turned !== undefined && outcome === 'moved') await tx.rows(arrived, [id, DEFAULT_GROUP_ID])
      }),

    async postpone({ stepId }, why, untilMs) {
      await sql.rows(postpone, [stepId, why, untilMs])
    },

    underWay: (limit) => sql.rows(underWay, [limit]),

    async tell(id, waiting) {
      await sql.rows(tell, [id, waiting])
    },

    async there({ toHost, type, name }) {
      return (await sql.rows(there, [toHost, type, name]))[0]?.state
    },

    dataset: async (id) => (await sql.rows(datasetOf, [id]))[0],

    points: ({ id, groupId, targetId }) =>
      targetId === null ? Promise.resolve([]) : sql.rows(pointsOf, [groupId, targetId, `${moveDirectory(id)}/%`]),
  }
}
