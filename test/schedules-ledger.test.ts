import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { duesBetween, type Recurrence } from '../control-plane/core/recurrence.ts'
import { recurrenceOf } from '../control-plane/core/recurrence-schema.ts'
import type { Schedule } from '../control-plane/core/schedules.ts'
import type { Sql, Transaction } from '../control-plane/db/sql.ts'
import { ADMIN, MADE } from './harness/point-room.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS, openScheduleRoom, type ScheduleRoom, SETTINGS } from './harness/schedule-room.ts'

/** A clock that is wrong by less is not told from one that is right. */
const TOLERANCE_MS = 5 * MINUTE_MS

const random = (seed: number) => () => {
  seed = (seed * 48_271) % 2_147_483_647
  return seed / 2_147_483_647
}

/** Every run that works ends, well or badly. */
async function endRuns(room: ScheduleRoom, next: () => number): Promise<void> {
  const running = await room.db.query(`select job_id from schedule_run where state = 'running'`)
  for (const { job_id: jobId } of running) {
    if (next() < 0.2) continue
    if (next() < 0.2) await room.fail(jobId, { code: 'internal', message: 'x' })
    else await room.succeed(jobId, MADE)
  }
}

function recurrenceOfSchedule(schedule: Schedule): Recurrence {
  return recurrenceOf(schedule.at, SETTINGS.calendar)
}

test.serial('the ledger equals the calendar, however the clock jumps, whoever is down and whatever runs', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const made = [
    await room.create({ name: 'a', at: { repeat: 'daily', start: 9_000, timezone: 'Europe/Berlin' } }),
    await room.create({
      name: 'b',
      at: { repeat: 'weekly', start: 80_000, days: [0, 2, 5], timezone: 'Asia/Kolkata' },
    }),
    await room.create({ name: 'c', at: { repeat: 'monthly', start: 0, days: [1, 15, 31] } }),
    await room.create({ name: 'd', container: 'gone', at: { repeat: 'daily', start: 43_200 } }),
  ]
  const replicas = [room, room.replica(), room.replica()]
  const next = random(20_260_302)
  const startMs = room.clock.nowMs
  let earliestMs = startMs
  let truth = startMs
  for (let step = 0; step < 70; step += 1) {
    // Mostly hours, sometimes weeks of nobody, sometimes a clock that is wrong and then set right.
    truth += next() < 0.1 ? next() * 20 * DAY_MS : next() * 14 * HOUR_MS
    const wrongBy = next() < 0.15 ? (next() - 0.4) * 40 * DAY_MS : next() < 0.2 ? (next() - 0.5) * 8 * MINUTE_MS : 0
    room.clock.nowMs = Math.round(truth + wrongBy)
    earliestMs = Math.min(earliestMs, room.clock.nowMs)
    await Promise.all(replicas.map((replica) => replica.ticks.due.run()))
    for (const replica of replicas) {
      await replica.ticks.firing.run()
      await endRuns(room, next)
      await replica.ticks.settling.run()
    }
  }
  room.clock.nowMs = Math.round(truth)
  await room.tick()
  await endRuns(room, () => 1)
  await room.tick()
  for (const schedule of made) {
    const rows = (await room.ledger(schedule.id)).filter(({ trigger }) => trigger === 'due')
    const seen = rows.map(({ dueAt }) => dueAt.getTime()).filter((ms) => ms <= truth)
    t.deepEqual(seen, duesBetween(recurrenceOfSchedule(schedule), earliestMs, Math.floor(truth), 10_000), schedule.name)
    t.true(rows.every(({ dueAt }) => dueAt.getTime() <= truth + TOLERANCE_MS))
    t.true(rows.every(({ outcome, state }) => (state === 'ended') === (outcome !== null)))
    t.true(rows.every(({ outcome, reason }) => !['missed', 'skipped', 'failed'].includes(outcome ?? '') || reason))
  }
  const counted = await room.db.query(
    `select count(*)::int as jobs, count(distinct id)::int as ids from job where kind = 'point.create'`,
  )
  const linked = await room.db.query(
    `select count(distinct job_id)::int as n from schedule_run where job_id is not null`,
  )
  t.is(linked[0].n, counted[0].jobs)
})

test.serial('four replicas, 2,000 due rows: each is fired once', async (t) => {
  const room = await openScheduleRoom(t, { settings: { slots: { perHost: 10_000, perTarget: 10_000 } } })
  await room.dataset('x')
  const { id } = await room.create({ name: 'first' })
  await room.db.query(
    `insert into schedule (id, group_id, name, type, container, path, directory, at, recurrence, timezone, disabled, retention, features,
       code, ledger_at, next_due, fire_at, jitter_ms, zone_rules)
     select gen_random_uuid(), group_id, 'n' || n, type, container, path, directory, at, recurrence, timezone, disabled, retention, features,
       code, ledger_at, next_due, fire_at, jitter_ms, zone_rules
     from schedule, generate_series(2, 2000) as n
     where id = $1`,
    [id],
  )
  room.clock.nowMs += 2 * HOUR_MS
  const replicas = [room, room.replica(), room.replica(), room.replica()]
  const began = performance.now()
  await Promise.all(replicas.map((replica) => replica.ticks.due.run()))
  const dueMs = performance.now() - began
  const [ledger] = await room.db.query(
    `select count(*)::int as rows, count(distinct schedule_id)::int as schedules from schedule_run where trigger = 'due' and state = 'waiting'`,
  )
  t.deepEqual(ledger, { rows: 2000, schedules: 2000 })
  const left = async () =>
    (await room.db.query(`select count(*)::int as n from schedule_run where state <> 'running'`))[0].n
  for (let round = 0; round < 20 && (await left()) > 0; round += 1) {
    await Promise.all(replicas.map((replica) => replica.ticks.firing.run()))
  }
  const [fired] = await room.db.query(
    `select count(*)::int as runs, count(distinct job_id)::int as jobs, (select count(*)::int from job where kind = 'point.create') as ordered,
       (select count(*)::int from point) as points
     from schedule_run where state = 'running'`,
  )
  t.deepEqual(fired, { runs: 2000, jobs: 2000, ordered: 2000, points: 2000 })
  t.log(`2,000 rows in ${Math.round(dueMs)} ms, orders for all in ${Math.round(performance.now() - began)} ms`)
})

class Crash extends Error {}

/** A database that is lost at the n-th statement: before it, or after it was done and nobody heard. */
function crashing(sql: Sql, n: number, where: 'before' | 'after') {
  let count = 0
  let crashed = false
  async function statement<Result>(work: () => Promise<Result>): Promise<Result> {
    count += 1
    if (crashed) throw new Crash('gone')
    if (count < n) return work()
    crashed = true
    if (where === 'after') await work()
    throw new Crash('gone')
  }
  const within = (tx: Transaction): Transaction => ({
    rows: (query, values) => statement(() => tx.rows(query, values)),
    rowsAndCommit: (query, values) => statement(() => tx.rowsAndCommit(query, values)),
  })
  const failing: Sql = {
    rows: (query, values) => statement(() => sql.rows(query, values)),
    async transaction(work) {
      const result = await sql.transaction((tx) => work(within(tx)))
      if (crashed) throw new Crash('gone')
      return result
    },
  }
  return { sql: failing, crashed: () => crashed }
}

for (const where of ['before', 'after'] as const) {
  test.serial(`a replica that dies ${where} any statement of firing: the next makes it whole, once`, async (t) => {
    const room = await openScheduleRoom(t)
    await room.dataset('x')
    const { id } = await room.create()
    await room.tick()
    room.clock.nowMs += 2 * HOUR_MS - DAY_MS
    let crashes = 0
    for (let n = 1; ; n += 1) {
      t.true(n < 60)
      room.clock.nowMs += DAY_MS
      const broken = crashing(room.sql, n, where)
      const dying = room.replica({ sql: broken.sql })
      await dying.ticks.due.run().catch(() => undefined)
      await dying.ticks.firing.run().catch(() => undefined)
      const wasThere = broken.crashed()
      if (wasThere) crashes += 1
      // A row that it had claimed is trusted to it for a while.
      await delay(20)
      for (const after of [0, 11_000, 11_000]) {
        room.clock.nowMs += after
        await room.round()
      }
      room.clock.nowMs -= 22_000
      const ledger = await room.ledger(id)
      t.is(ledger.length, n, `${n}`)
      t.like(ledger.at(-1), { state: 'running', trigger: 'due' })
      const jobs = await room.db.query(`select id from job where kind = 'point.create' and finished_at is null`)
      t.deepEqual(
        jobs.map((job: { id: string }) => job.id),
        [ledger.at(-1)?.jobId],
      )
      await room.finish(id)
      if (!wasThere) break
    }
    t.true(crashes > 8, `${crashes} crashes`)
    t.is((await room.ledger(id)).filter(({ outcome }) => outcome === 'ran').length, crashes + 1)
  })
}

test.serial('a replica that dies while it settles: the run ends once, and retention is not lost', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create({ retention: 2 })
  room.clock.nowMs += 2 * HOUR_MS - DAY_MS
  for (let n = 1; ; n += 1) {
    room.clock.nowMs += DAY_MS
    await room.tick()
    const jobId = (await room.ledger(id)).at(-1)?.jobId ?? ''
    await room.succeed(jobId, MADE)
    const broken = crashing(room.sql, n, 'after')
    const dying = room.replica({ sql: broken.sql })
    await dying.ticks.settling.run().catch(() => undefined)
    await dying.ticks.pruning.run().catch(() => undefined)
    await room.round()
    t.is((await room.ledger(id)).at(-1)?.outcome, 'ran')
    const preview = await room.schedules.retentionPreview(ADMIN, id)
    t.is(preview.keep.length, Math.min(n, 2))
    t.deepEqual(preview.delete, [])
    if (!broken.crashed() && n > 3) break
    t.true(n < 40)
  }
})
