import type { ExecutionContext } from 'ava'
import type { Caller } from '../../control-plane/core/caller.ts'
import type { CreateSchedule, Schedule } from '../../control-plane/core/schedules.ts'
import type { Sql } from '../../control-plane/db/sql.ts'
import { createInstanceStore } from '../../control-plane/db/stores/instance-store.ts'
import { openSchedules, type ScheduleSettings } from '../../control-plane/open-schedules.ts'
import type { Webhook } from '../../control-plane/schedule/webhook.ts'
import { newId } from '../../shared/ids.ts'
import { createLogger } from '../../shared/logger.ts'
import { ADMIN, MADE, openPointRoom } from './point-room.ts'
import { until } from './until.ts'

/** What a replica that was woken has claimed and not placed yet. */
const AT_WORK = `select id from schedule_run where state = 'granted' and lease > $1
  union all
  select id from restore_task where code = 'init' and not disabled and lease > $1`

export type ScheduleRoom = Awaited<ReturnType<typeof openScheduleRoom>>

export const SETTINGS: ScheduleSettings = {
  calendar: { startUnit: 'seconds', timezone: 'UTC' },
  slots: { perHost: 4, perTarget: 4 },
  spreadMs: 0,
  graceMs: 300_000,
  trashMs: 24 * 3_600_000,
}

/** 2026-03-02T00:00:00Z, a Monday. */
export const MONDAY_MS = Date.UTC(2026, 2, 2)
export const DAY_MS = 86_400_000
export const HOUR_MS = 3_600_000
export const MINUTE_MS = 60_000

/** Schedules over a real database, at a time that the test tells: nothing ticks by itself, and no agent runs. */
export async function openScheduleRoom(
  t: ExecutionContext,
  given: {
    readonly settings?: Partial<ScheduleSettings>
    readonly webhook?: Webhook
  } = {},
) {
  const room = await openPointRoom(t)
  const clock = { nowMs: MONDAY_MS }
  const settings = { ...SETTINGS, ...given.settings }
  const events: { readonly type: string; readonly json: string }[] = []

  /** Another replica; `sql` and `points` may be ones that fail, and it may have been told something else. */
  function replica(
    changed: {
      readonly sql?: Sql
      readonly points?: typeof room.points
      readonly now?: () => number
      readonly settings?: Partial<ScheduleSettings>
    } = {},
  ) {
    const plane = room.plane(changed.sql ? { sql: changed.sql } : {})
    const { points = plane.points, now = () => clock.nowMs } = changed
    const opened = openSchedules({
      sql: changed.sql ?? room.sql,
      origin: newId(),
      points,
      targets: plane.targets,
      instances: createInstanceStore(changed.sql ?? room.sql),
      datasets: plane.datasets,
      jobs: plane.jobs,
      fleet: room.registry,
      settings: { ...settings, ...changed.settings },
      webhook: given.webhook,
      afterCommit: (committed) => {
        events.push(...committed.events)
        plane.committed(committed)
      },
      // What is awaited here must not be done by the waker too.
      logger: createLogger('test', 'error'),
      now: async () => now(),
    })
    t.teardown(() => opened.stop())
    return opened
  }

  const first = replica()
  const { schedules, restoreTasks, ticks } = first

  async function round(of: Pick<typeof first, 'ticks'> = first): Promise<void> {
    for (const name of ['due', 'firing', 'settling', 'restores', 'pruning', 'superseded', 'alarms'] as const)
      await of.ticks[name].run()
  }

  /** What agents do to what was pruned, unless a test says otherwise. */
  const agents = { move: true }

  async function moves(): Promise<readonly { readonly id: string; readonly kind: string; readonly point: string }[]> {
    return room.db.query(
      `select id, kind, spec ->> 'pointId' as point
       from job
       where kind in ('point.trash', 'point.untrash') and finished_at is null
       order by ordinal`,
    )
  }

  /** One round of everything, as it comes within seconds of a running fleet. */
  async function tick(of: Pick<typeof first, 'ticks'> = first): Promise<void> {
    await round(of)
    if (agents.move) for (const { id } of await moves()) await room.succeed(id)
    await until('nobody is at work', async () => (await room.db.query(AT_WORK, [new Date(clock.nowMs)])).length === 0)
  }

  const create = (request: Partial<CreateSchedule> = {}, caller: Caller = ADMIN): Promise<Schedule> =>
    schedules.create(caller, {
      ...{ name: 'nightly', type: 'dataset', container: 'x', path: '/backups', at: { repeat: 'daily', start: 7200 } },
      ...request,
    })

  return {
    ...room,
    clock,
    events,
    replica,
    schedules,
    restoreTasks,
    ticks,
    tick,
    agents,
    /** Orders to the trash and back that have not ended, oldest first. */
    moves,
    /** The same where some replica has died: what it had claimed is waited for. */
    round,
    create,
    overdueCount: first.overdueCount,
    /** The ledger of a schedule, oldest first. */
    async ledger(id: string, caller: Caller = ADMIN) {
      return (await schedules.runs(caller, id, {}, { limit: 5_000 })).items.toReversed()
    },
    get: (id: string) => schedules.get(ADMIN, id),
    /** The run that is under way ends so. */
    async finish(id: string, made: object = {}) {
      const run = (await schedules.runs(ADMIN, id, {}, { limit: 1 })).items[0]
      const point = await room.points.get(ADMIN, run?.pointId ?? '')
      await room.succeed(run?.jobId ?? '', { ...MADE, full: point.chain.length === 0, ...made })
      await tick()
      return point.id
    },
    /** Later by so much, with a tick. */
    async later(byMs: number) {
      clock.nowMs += byMs
      await tick()
    },
  }
}
