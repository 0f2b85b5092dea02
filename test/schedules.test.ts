import test from 'ava'
import { presentBackup } from '../control-plane/dialects/qnap/present-backups.ts'
import { ADMIN, MADE, OPERATOR } from './harness/point-room.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS, MONDAY_MS, openScheduleRoom } from './harness/schedule-room.ts'

const TWO = MONDAY_MS + 2 * HOUR_MS

test.serial('a schedule waits for its instant, fires, and waits for the next', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const made = await room.create({ at: { repeat: 'daily', start: 7200, times: 2 } })
  t.like(made, {
    number: 1,
    at: { repeat: 'daily', start: 7200, times: 2 },
    target: null,
    retention: 0,
    features: [],
    state: { code: 'init', result: null, lastRun: null, nextRun: new Date(TWO), progress: null },
  })
  await room.tick()
  t.is((await room.get('1')).state.code, 'scheduled')
  t.deepEqual(await room.ledger(made.id), [])
  await room.later(2 * HOUR_MS - 1)
  t.deepEqual(await room.ledger(made.id), [])
  await room.later(1)
  const [run] = await room.ledger(made.id)
  t.like(run, { trigger: 'due', dueAt: new Date(TWO), state: 'running', outcome: null, host: 'a' })
  t.like((await room.get('1')).state, { code: 'running', progress: -1, nextRun: new Date(TWO + DAY_MS) })
  const { spec } = await room.sent(run?.jobId ?? '')
  t.like(spec, { kind: 'point.create', series: 'backups/container-backup@nightly', compression: 'none', bases: [] })
  t.is(run?.pointId, spec.kind === 'point.create' ? spec.pointId : '')
  t.deepEqual(await room.schedules.tasksOf(ADMIN, [run?.jobId ?? '', made.id]), [
    { jobId: run?.jobId ?? '', kind: 'backup', number: 1 },
  ])
  await room.tell(run?.jobId ?? '', { type: 'start', seq: 1, at: 0 })
  await room.tell(run?.jobId ?? '', { type: 'progress', seq: 2, at: 0, progress: { phase: 'x', percent: 41.7 } })
  t.is((await room.get('1')).state.progress, 41)
  await room.finish(made.id)
  t.like((await room.ledger(made.id))[0], { state: 'ended', outcome: 'ran', reason: null })
  t.like((await room.get('1')).state, { code: 'scheduled', result: 0, progress: null })
  t.is(Math.round(((await room.get('1')).state.lastRun?.getTime() ?? 0) / 1000), TWO / 1000)
})

test.serial('a run that goes on when the next is due is not disturbed; that one is skipped', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create()
  await room.later(2 * HOUR_MS)
  await room.later(DAY_MS)
  t.deepEqual(
    (await room.ledger(id)).map(({ state, outcome, reason }) => [state, outcome, reason]),
    [
      ['running', null, null],
      ['ended', 'skipped', 'the run before was still under way'],
    ],
  )
  const [first] = await room.ledger(id)
  await room.succeed(first?.jobId ?? '', MADE)
  await room.tick()
  await room.later(DAY_MS)
  t.deepEqual(
    (await room.ledger(id)).map(({ outcome }) => outcome),
    ['ran', 'skipped', null],
  )
})

test.serial('after a week without anybody the newest instant fires late and the others were missed', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create()
  await room.tick()
  await room.later(2 * HOUR_MS)
  await room.finish(id)
  await room.later(7 * DAY_MS + HOUR_MS)
  await room.finish(id)
  const ledger = await room.ledger(id)
  t.deepEqual(
    ledger.map(({ outcome }) => outcome),
    ['ran', 'missed', 'missed', 'missed', 'missed', 'missed', 'missed', 'late'],
  )
  t.deepEqual(
    ledger.map(({ dueAt }) => dueAt.getTime()),
    Array.from({ length: 8 }, (_, n) => TWO + n * DAY_MS),
  )
  t.regex(ledger.at(-1)?.reason ?? '', /3600 seconds after/)
  t.regex(ledger[1]?.reason ?? '', /no control plane/)
})

test.serial('a host that is away is waited for, until the next instant at the latest', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create()
  room.registry.deaf('a')
  await room.later(2 * HOUR_MS)
  t.like(await room.get(id), { state: { code: 'waiting', progress: -1 } })
  t.like((await room.ledger(id))[0], { state: 'waiting', reason: "host 'a' was offline" })
  await room.later(HOUR_MS)
  room.registry.heard('a')
  await room.tick()
  await room.finish(id)
  t.like((await room.ledger(id))[0], { outcome: 'late' })

  room.registry.deaf('a')
  await room.later(23 * HOUR_MS)
  await room.later(DAY_MS)
  t.like((await room.ledger(id))[1], { outcome: 'missed', reason: "host 'a' was offline, until it was too late" })
  t.like((await room.ledger(id))[2], { state: 'waiting' })
  t.like((await room.get(id)).state, { code: 'waiting', result: -1 })
})

test.serial('slots of hosts and targets bound what runs at a time; the oldest comes first', async (t) => {
  const room = await openScheduleRoom(t, { settings: { slots: { perHost: 2, perTarget: 1 } } })
  await room.dataset('x')
  for (const n of [1, 2, 3]) await room.create({ name: `n${n}`, at: { repeat: 'daily', start: 7200 + n } })
  await room.later(2 * HOUR_MS + 5_000)
  const codes = async () => (await room.schedules.list(ADMIN, { limit: 10 })).items.map(({ state }) => state.code)
  t.deepEqual(await codes(), ['running', 'running', 'waiting'])
  t.regex((await room.ledger('3'))[0]?.reason ?? '', /every slot/)
  await room.finish('1')
  await room.tick()
  t.deepEqual(await codes(), ['scheduled', 'running', 'running'])

  const config = { name: 'nas', protocol: 'webdav', host: 'nas.test', port: 80, encrypt: false, username: 'u' }
  const target = await room.targets.create(ADMIN, { config, secret: {} })
  await room.dataset('y', 'b')
  for (const n of [4, 5]) {
    await room.create({
      name: `n${n}`,
      container: 'y',
      target: String(target.number),
      at: { repeat: 'daily', start: 7300 + n },
    })
  }
  await room.later(MINUTE_MS * 5)
  t.deepEqual((await codes()).slice(3), ['running', 'waiting'])
})

test.serial(
  'run now, once at a time, disabled or not; stop ends what waits at once and asks what runs to stop',
  async (t) => {
    const room = await openScheduleRoom(t)
    await room.dataset('x')
    const { id } = await room.create({ disabled: true })
    t.like(await room.schedules.run(ADMIN, id), { state: { code: 'waiting' } })
    await t.throwsAsync(room.schedules.run(ADMIN, id), { code: 'conflict' })
    await t.throwsAsync(room.schedules.delete(ADMIN, id), { code: 'conflict' })
    await t.throwsAsync(room.schedules.change(ADMIN, id, { container: 'y' }), { code: 'conflict' })
    await room.tick()
    const [run] = await room.ledger(id)
    t.like(run, { trigger: 'manual', state: 'running' })
    await room.schedules.stop(ADMIN, id)
    t.is((await room.jobs.get(ADMIN, run?.jobId ?? '')).state, 'cancelling')
    await room.tell(run?.jobId ?? '', { type: 'stop', seq: 5, at: 0, phases: [] })
    await room.tick()
    t.like((await room.ledger(id))[0], { outcome: 'stopped', reason: 'somebody stopped it' })
    t.like((await room.get(id)).state, { code: 'completed', result: -2 })
    t.like(await room.schedules.stop(ADMIN, id), { state: { code: 'completed' } })

    room.registry.deaf('a')
    await room.schedules.run(ADMIN, id)
    t.like(await room.schedules.stop(ADMIN, id), { state: { code: 'completed', result: -2 } })
    t.deepEqual(
      (await room.ledger(id)).map(({ outcome }) => outcome),
      ['stopped', 'stopped'],
    )
    t.deepEqual(
      (await room.db.query(`select operation from audit where object_kind = 'schedule' order by ordinal`)).map(
        (row: { operation: string }) => row.operation,
      ),
      ['schedule.create', 'schedule.run', 'schedule.stop', 'schedule.run', 'schedule.stop'],
    )
  },
)

test.serial('what fails says why: partial points, jobs, sources that are gone', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create()
  await room.later(2 * HOUR_MS)
  await room.finish(id, { problemCount: 3 })
  t.like((await room.ledger(id))[0], { outcome: 'failed' })
  t.regex((await room.ledger(id))[0]?.reason ?? '', /3 files could not be read/)
  await room.later(DAY_MS)
  await room.fail((await room.ledger(id))[1]?.jobId ?? '', { code: 'no_space', message: 'the target is full' })
  await room.tick()
  t.like((await room.ledger(id))[1], { outcome: 'failed', reason: 'the target is full' })
  t.like((await room.get(id)).state, { code: 'scheduled', result: -1 })

  const gone = await room.create({ name: 'gone', container: 'nobody' })
  await room.later(DAY_MS)
  t.like((await room.ledger(gone.id))[0], { outcome: 'failed', jobId: null })
})

test.serial('a oneshot of the past runs once at once, and is over', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const at = { repeat: 'oneshot', start: (MONDAY_MS - DAY_MS) / 1000 }
  const { id } = await room.create({ at })
  await room.tick()
  await room.finish(id)
  t.like((await room.ledger(id))[0], { outcome: 'late', dueAt: new Date(MONDAY_MS - DAY_MS) })
  t.like((await room.get(id)).state, { code: 'completed', nextRun: null, result: 0 })
  await room.schedules.change(ADMIN, id, { disabled: true })
  await room.schedules.change(ADMIN, id, { disabled: false })
  await room.later(MINUTE_MS)
  t.is((await room.ledger(id)).length, 1)
  t.is((await room.get(id)).state.code, 'completed')
})

test.serial(
  'changes: what is disabled lets its instants pass and shows the next; names are one per place',
  async (t) => {
    const room = await openScheduleRoom(t)
    await room.dataset('x')
    const { id, version } = await room.create()
    await t.throwsAsync(room.create({ path: 'backups//' }), { code: 'exists' })
    await room.create({ path: 'elsewhere' })
    for (const path of ['container-backup@a/20260101T000000Z', 'container-backup@a/backup-metadata'])
      await t.throwsAsync(room.create({ path }), { code: 'invalid', message: /beside points/ })
    await t.throwsAsync(
      room.schedules.change(ADMIN, id, { retention: 3 }, (current) => current.version > version),
      { code: 'stale' },
    )
    t.is((await room.schedules.change(ADMIN, id, { retention: 3 })).retention, 3)
    await t.throwsAsync(room.schedules.change(ADMIN, id, { retention: 1 }), { code: 'invalid' })
    await t.throwsAsync(room.schedules.change(ADMIN, id, { at: { repeat: 'hourly' } }), { code: 'invalid' })
    const disabled = await room.schedules.change(ADMIN, id, { disabled: true })
    t.like(disabled, { disabled: true, state: { nextRun: new Date(TWO) } })
    await room.later(3 * DAY_MS)
    t.deepEqual(await room.ledger(id), [])
    t.is((await room.get(id)).state.nextRun?.getTime(), TWO + 3 * DAY_MS)
    await room.schedules.change(ADMIN, id, {
      disabled: false,
      at: { repeat: 'daily', start: 3600, timezone: 'Asia/Kolkata' },
    })
    await room.later(DAY_MS)
    t.deepEqual(
      (await room.ledger(id)).map(({ dueAt }) => dueAt.toISOString()),
      ['2026-03-05T19:30:00.000Z'],
    )
    t.is((await room.get(id)).timezone, 'Asia/Kolkata')
  },
)

test.serial(
  'groups see their own, viewers change nothing, and directories need an operator of the fleet',
  async (t) => {
    const room = await openScheduleRoom(t)
    const { id } = await room.create()
    const other = room.tenant(await room.group('other'))
    await t.throwsAsync(room.schedules.get(other, id), { code: 'not_found' })
    await t.throwsAsync(room.schedules.run(other, '1'), { code: 'not_found' })
    t.deepEqual((await room.schedules.list(other, { limit: 5 })).items, [])
    t.is((await room.create({}, other)).number, 2)
    const viewer = { ...OPERATOR, role: 'viewer' as const }
    t.is((await room.schedules.get(viewer, id)).id, id)
    for (const act of [room.schedules.run, room.schedules.stop, room.schedules.delete]) {
      await t.throwsAsync(act(viewer, id), { code: 'forbidden' })
    }
    const path = { type: 'path' as const, container: '/srv/data/shop', name: 'shop' }
    await t.throwsAsync(room.create(path, OPERATOR), { code: 'refused' })
    await t.throwsAsync(room.create(path), { code: 'conflict' })
    await t.throwsAsync(room.schedules.change(OPERATOR, id, { ...path, host: 'a' }), { code: 'refused' })
    const made = await room.create({ ...path, host: 'b' })
    t.is(made.host, 'b')
    await room.later(2 * HOUR_MS)
    const run = (await room.ledger(made.id))[0]
    t.like((await room.sent(run?.jobId ?? '', 'b')).spec, { source: { kind: 'path', path: '/srv/data/shop' } })
  },
)

test.serial(
  'a change that says nothing of times leaves them as they were meant, whatever the server was told since',
  async (t) => {
    const room = await openScheduleRoom(t)
    await room.dataset('x')
    const calendar = { startUnit: 'minutes', timezone: 'Asia/Tokyo' } as const
    const later = room.replica({ settings: { calendar } })
    const short = await room.create({ name: 'short', at: { repeat: 'daily', start: 600 } })
    const long = await room.create({ name: 'long', at: { repeat: 'weekly', start: 7200, days: [1, 4], times: 2 } })
    const minutes = await later.schedules.create(ADMIN, {
      ...{ name: 'minutes', type: 'dataset', container: 'x', path: '/backups', at: { repeat: 'daily', start: 600 } },
    })
    t.is(minutes.state.nextRun?.toISOString(), '2026-03-02T01:00:00.000Z')
    for (const { id, at, timezone, state } of [short, long, minutes]) {
      const changes = [{ retention: 5 }, { at: { ...at, keep: { daily: 7 } } }, { disabled: true }, { disabled: false }]
      for (const change of changes) {
        for (const replica of [later, room]) {
          const changed = await replica.schedules.change(ADMIN, id, change)
          t.is(changed.timezone, timezone)
          t.deepEqual(changed.state.nextRun, state.nextRun, JSON.stringify(change))
        }
      }
    }
    const moved = await later.schedules.change(ADMIN, short.id, { at: { repeat: 'daily', start: 660 } })
    t.is(moved.timezone, 'Asia/Tokyo')
    t.is(moved.state.nextRun?.toISOString(), '2026-03-02T02:00:00.000Z')
  },
)

test.serial(
  'an instant that was skipped for a run that somebody asked for is unmet until that ends well',
  async (t) => {
    const room = await openScheduleRoom(t)
    await room.dataset('x')
    const daily = await room.create()
    const once = await room.create({ name: 'once', at: { repeat: 'oneshot', start: TWO / 1000 } })
    await room.tick()
    room.registry.deaf('a')
    for (const { id } of [daily, once]) await room.schedules.run(ADMIN, id)
    await room.later(2 * HOUR_MS)
    for (const { id } of [daily, once]) t.like((await room.ledger(id))[1], { trigger: 'due', outcome: 'skipped' })
    await room.later(10 * MINUTE_MS)
    t.deepEqual(
      room.events.map(({ type, json }) => [type, JSON.parse(json).due_at]),
      Array.from({ length: 2 }, () => ['schedule.overdue', new Date(TWO).toISOString()]),
    )
    room.registry.heard('a')
    await room.tick()
    const finish = async (id: string) => {
      const [run] = await room.ledger(id)
      await room.succeed(run?.jobId ?? '', MADE)
      await room.tick()
    }
    await finish(daily.id)
    t.is(room.overdueCount(), 1)
    t.like(JSON.parse(room.events.at(-1)?.json ?? ''), { type: 'schedule.recovered', name: 'nightly' })
  },
)

test.serial('a schedule in a zone that is known no more stops no other, says so, and can be put right', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const odd = await room.create({ name: 'odd', at: { repeat: 'daily', start: 7200, timezone: 'Asia/Tokyo' } })
  const plain = await room.create({ name: 'plain', at: { repeat: 'daily', start: 18 * 3600 } })
  const rest = await room.create({
    name: 'rest',
    disabled: true,
    at: { repeat: 'daily', start: 0, timezone: 'Asia/Tokyo' },
  })
  await room.tick()
  // As by a Node that has other rules of zones.
  await room.db.query(
    `update schedule
     set zone_rules = 'other', timezone = 'Asia/Elsewhere', at = replace(at::text, 'Tokyo', 'Elsewhere')::json,
       recurrence = replace(recurrence::text, 'Tokyo', 'Elsewhere')::jsonb
     where id = any($1)`,
    [[odd.id, rest.id]],
  )
  await room.db.query(`update schedule set zone_rules = 'other' where id = $1`, [plain.id])
  await room.tick()
  await room.later(18 * HOUR_MS)
  t.like((await room.ledger(plain.id))[0], { state: 'running' })
  t.like((await room.ledger(odd.id))[0], {
    state: 'ended',
    outcome: 'missed',
    dueAt: new Date(MONDAY_MS + 17 * HOUR_MS),
  })
  t.regex((await room.ledger(odd.id))[0]?.reason ?? '', /time zone is not known/)
  t.like(JSON.parse(room.events.at(-1)?.json ?? ''), { type: 'schedule.overdue', name: 'odd' })
  for (let n = 0; n < 3; n += 1) await room.later(HOUR_MS)
  t.is((await room.ledger(odd.id)).length, 1)
  const listed = (await room.schedules.list(ADMIN, { limit: 10 })).items
  t.deepEqual(
    listed.map(({ name, state }) => [name, state.nextRun === null]),
    [
      ['odd', false],
      ['plain', false],
      ['rest', true],
    ],
  )
  t.notThrows(() => listed.map(presentBackup))
  const asBefore = { at: { repeat: 'daily', start: 60, timezone: 'Asia/Elsewhere' } }
  await t.throwsAsync(room.schedules.change(ADMIN, odd.id, asBefore), { code: 'invalid' })
  const at = { repeat: 'daily', start: 23 * 3600 }
  const mended = await room.schedules.change(ADMIN, odd.id, { at })
  t.is(mended.state.nextRun?.getTime(), MONDAY_MS + 23 * HOUR_MS)
  await room.later(2 * HOUR_MS)
  t.like((await room.ledger(odd.id)).at(-1), { state: 'running' })
})

test.serial('a place in the ledger that no page ever had is refused', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create()
  await room.later(2 * HOUR_MS)
  for (const cursor of ['-999999999999999.1', '999999999999999.1', `${TWO}`, '1.9999999999999999999', 'x'])
    await t.throwsAsync(room.schedules.runs(ADMIN, id, {}, { limit: 1, cursor }), { code: 'invalid' }, cursor)
  t.deepEqual((await room.schedules.runs(ADMIN, id, {}, { limit: 1, cursor: `${TWO}.0` })).items, [])
})
