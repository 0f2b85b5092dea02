import { createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { MAX_MOVES } from '../control-plane/core/point-trash.ts'
import { createFiringStore } from '../control-plane/db/stores/firing-store.ts'
import { createWebhook } from '../control-plane/schedule/webhook.ts'
import { FleetError } from '../shared/errors.ts'
import { ADMIN, MADE, OPERATOR } from './harness/point-room.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS, openScheduleRoom, type ScheduleRoom } from './harness/schedule-room.ts'
import { until } from './harness/until.ts'

/** A good or bad run at each of the next days. @returns its point. */
async function night(room: ScheduleRoom, id: string, how: 'good' | 'partial' | 'failed' = 'good'): Promise<string> {
  await room.later(DAY_MS)
  if (how !== 'failed') return room.finish(id, how === 'partial' ? { problemCount: 1 } : {})
  const run = (await room.ledger(id)).at(-1)
  await room.fail(run?.jobId ?? '', { code: 'internal', message: 'x' })
  await room.tick()
  return run?.pointId ?? ''
}

async function openNights(
  t: ExecutionContext,
  given: { readonly retention: number; readonly features?: 'incremental'[] },
) {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create(given)
  await room.tick()
  room.clock.nowMs += 2 * HOUR_MS - DAY_MS
  return { room, id }
}

const trashed = async (room: ScheduleRoom, ids: readonly string[]) => {
  const points = await Promise.all(ids.map((id) => room.points.get(ADMIN, id)))
  return points.map(({ trashedAt }) => trashedAt !== null)
}

test.serial(
  'a good run hides what retention no longer keeps; it can be had back, and goes when the window is over',
  async (t) => {
    const { room, id } = await openNights(t, { retention: 2 })
    const points = [await night(room, id), await night(room, id)]
    t.deepEqual((await room.schedules.retentionPreview(ADMIN, id)).delete, [])
    await room.later(DAY_MS)
    const run = (await room.ledger(id)).at(-1)
    const before = await room.schedules.retentionPreview(ADMIN, id)
    t.deepEqual(before.delete, [])
    t.deepEqual(
      before.keep.map(({ rule }) => rule),
      ['running', 'newest', 'count'],
    )
    await room.succeed(run?.jobId ?? '', MADE)
    await room.tick()
    points.push(run?.pointId ?? '')
    t.deepEqual(await trashed(room, points), [true, false, false])
    const after = await room.schedules.retentionPreview(ADMIN, id)
    t.deepEqual(
      after.trashed.map((point) => [point.id, point.removedAt.getTime() - point.trashedAt.getTime()]),
      [[points[0] ?? '', 24 * HOUR_MS]],
    )
    const audited = await room.db.query(
      `select operation, subject, detail ->> 'rule' as rule from audit where object_id = $1 and operation = 'point.prune'`,
      [points[0]],
    )
    t.deepEqual(audited, [{ operation: 'point.prune', subject: 'schedule:1', rule: 'superseded' }])

    await t.throwsAsync(room.points.pin(ADMIN, points[0] ?? '', true), { code: 'conflict' })
    await t.throwsAsync(room.schedules.undelete({ ...OPERATOR, role: 'viewer' }, points[0] ?? ''), {
      code: 'forbidden',
    })
    await t.throwsAsync(room.schedules.undelete(ADMIN, points[1] ?? ''), { code: 'conflict' })
    await room.schedules.undelete(OPERATOR, points[0] ?? '')
    await room.tick()
    t.like(await room.points.get(ADMIN, points[0] ?? ''), { trashedAt: null, pinned: true, isReturning: false })
    await t.throwsAsync(room.schedules.undelete(ADMIN, points[0] ?? ''), { code: 'conflict' })

    points.push(await night(room, id))
    t.deepEqual(await trashed(room, points), [false, true, false, false])
    await room.later(23 * HOUR_MS)
    t.false((await room.points.get(ADMIN, points[1] ?? '')).isDeleting)
    await room.later(HOUR_MS + MINUTE_MS)
    t.true((await room.points.get(ADMIN, points[1] ?? '')).isDeleting)
    const jobs = await room.db.query(`select id, spec from job where kind = 'point.delete'`)
    t.is(jobs.length, 1)
    await room.fail(jobs[0].id, { code: 'unavailable', message: 'cut off' })
    await room.later(MINUTE_MS)
    t.is((await room.db.query(`select id from job where kind = 'point.delete'`)).length, 1)
    await room.later(HOUR_MS)
    const again = await room.db.query(`select id from job where kind = 'point.delete' and finished_at is null`)
    t.is(again.length, 1)
    await room.succeed(again[0].id)
    await t.throwsAsync(room.points.get(ADMIN, points[1] ?? ''), { code: 'not_found' })
  },
)

test.serial('runs that are not good delete nothing, and the last good point stays whatever happens', async (t) => {
  const { room, id } = await openNights(t, { retention: 2 })
  const good = [await night(room, id), await night(room, id)]
  for (const how of ['failed', 'partial', 'failed', 'partial', 'failed'] as const) {
    await night(room, id, how)
    t.deepEqual(await trashed(room, good), [false, false])
  }
  good.push(await night(room, id))
  t.deepEqual(await trashed(room, good), [true, false, false])
  const all = (await room.points.list(ADMIN, {}, { limit: 50 })).items
  const kept = all.filter(({ trashedAt }) => trashedAt === null)
  t.deepEqual(
    kept.filter(({ status }) => status === 'failed'),
    [],
  )
  t.true(kept.filter(({ status }) => status === 'good').length >= 2)
})

test.serial('what a point that stays rests on stays, and nothing is built on what is hidden', async (t) => {
  const { room, id } = await openNights(t, { retention: 2, features: ['incremental'] })
  const chain = [await night(room, id), await night(room, id), await night(room, id), await night(room, id)]
  t.deepEqual(await trashed(room, chain), [false, false, false, false])
  t.deepEqual((await room.points.get(ADMIN, chain[3] ?? '')).chain, chain.slice(0, 3))
  await room.schedules.change(ADMIN, id, { features: [] })
  chain.push(await night(room, id), await night(room, id))
  t.deepEqual(await trashed(room, chain), [true, true, true, true, false, false])
  // The chain goes from its end on, each when what rests on it has gone.
  room.clock.nowMs += 25 * HOUR_MS
  const order: string[] = []
  for (let n = 0; n < 4; n += 1) {
    await room.ticks.pruning.run()
    const [job] = await room.db.query(
      `select id, spec ->> 'pointId' as point from job where kind = 'point.delete' and finished_at is null`,
    )
    order.push(job?.point)
    await room.succeed(job?.id)
  }
  t.deepEqual(order, chain.slice(0, 4).toReversed())

  const [last = ''] = chain.slice(-1)
  await room.db.query("update point set trashed_at = now(), purge_at = now() + interval '1 day' where id = $1", [last])
  await room.schedules.change(ADMIN, id, { features: ['incremental'] })
  const next = await room.points.get(ADMIN, await night(room, id))
  t.deepEqual(next.chain, [chain[4] ?? ''])
})

test.serial('a schedule whose points cannot be decided on keeps them, and holds up no other', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const at = { repeat: 'daily', start: 7200, keep: { daily: 1 } } as const
  const odd = await room.create({ name: 'odd', at })
  const plain = await room.create({ name: 'plain', retention: 2 })
  await room.tick()
  room.clock.nowMs += 2 * HOUR_MS - DAY_MS
  const points: string[][] = []
  for (let n = 0; n < 3; n += 1) {
    await room.later(DAY_MS)
    // Of zones that rules have no more.
    await room.db.query(`update schedule set timezone = 'Nowhere/Else' where id = $1`, [odd.id])
    points.push([await room.finish(odd.id), await room.finish(plain.id)])
  }
  t.deepEqual(
    await trashed(
      room,
      points.map(([, point = '']) => point),
    ),
    [true, false, false],
  )
  t.deepEqual(
    await trashed(
      room,
      points.map(([point = '']) => point),
    ),
    [false, false, false],
  )
})

/** Three nights, of which the first was pruned; its order to the trash waits. */
async function openPruned(t: ExecutionContext) {
  const { room, id } = await openNights(t, { retention: 2 })
  const [first] = [await night(room, id), await night(room, id)]
  room.agents.move = false
  await night(room, id)
  const [order] = await until('its move is ordered', async () => {
    const found = await room.moves()
    return found.length > 0 && found
  })
  return { room, id, first: first ?? '', order }
}

test.serial(
  'a pruned point moves to the trash, however often that fails, and back; nothing reads it there',
  async (t) => {
    const { room, first, order } = await openPruned(t)
    const get = () => room.points.get(ADMIN, first)
    const spec = (await room.sent(order?.id ?? '')).spec
    const { name, series, location } = await get()
    t.like(spec, { kind: 'point.trash', pointId: first, name, series })
    t.true(location?.endsWith(`/${series}/${name}`) && !location.includes('.trash'))
    await room.fail(order?.id ?? '', { code: 'unavailable', message: 'the target is away' })
    await room.later(30_000)
    t.deepEqual(await room.moves(), [])
    for (const waitMs of [30_000, 2 * MINUTE_MS, 4 * MINUTE_MS]) {
      await room.later(waitMs - 1_000)
      t.deepEqual(await room.moves(), [])
      await room.later(1_000)
      const [again] = await room.moves()
      t.like(again, { kind: 'point.trash', point: first })
      await room.fail(again?.id ?? '', { code: 'unavailable', message: 'the target is away' })
    }
    await room.later(HOUR_MS)
    // While it is under way it is not ordered again.
    await room.later(HOUR_MS)
    t.is((await room.moves()).length, 1)
    t.is((await get()).location, location)
    for (const work of [room.points.verify, room.points.rehearse])
      await t.throwsAsync(work(ADMIN, first), { code: 'conflict', message: /take it back first/ })
    await t.throwsAsync(room.points.files(ADMIN, first, { path: '', limit: 1 }), { code: 'conflict' })
    const destination = { newDataset: 'back' }
    await t.throwsAsync(room.points.restore(ADMIN, first, { destination }), { code: 'conflict' })

    await room.later(HOUR_MS)
    const [last] = await room.moves()
    await room.succeed(last?.id ?? '')
    t.true((await get()).location?.endsWith(`/.trash/${series}/${name}`))
    await room.later(2 * HOUR_MS)
    t.deepEqual(await room.moves(), [])

    await room.schedules.undelete(OPERATOR, first)
    t.like(await get(), { isReturning: true, pinned: true })
    t.not((await get()).trashedAt, null)
    await room.tick()
    const [back] = await room.moves()
    t.like(back, { kind: 'point.untrash', point: first })
    await room.fail(back?.id ?? '', { code: 'unavailable', message: 'the target is away' })
    // As if the clock had been ahead.
    await room.db.query(`update point set move_at = move_at + interval '1 year'`)
    await room.later(30 * HOUR_MS)
    t.like(await get(), { isReturning: true, isDeleting: false }, 'what is wanted back is not removed')
    t.is((await room.moves()).length, 1)
    for (const { id } of await room.moves()) await room.fail(id, { code: 'unavailable', message: 'away' })
    // Whoever asks again is not made to wait.
    await room.schedules.undelete(OPERATOR, first)
    await room.tick()
    const [once] = await room.moves()
    await room.succeed(once?.id ?? '')
    t.like(await get(), { trashedAt: null, isReturning: false, pinned: true, location })
  },
)

test.serial('an order to the trash that ends after the point was taken back is followed by its way back', async (t) => {
  const { room, first, order } = await openPruned(t)
  await room.schedules.undelete(OPERATOR, first)
  await room.tick()
  t.is((await room.moves()).length, 1)
  await room.succeed(order?.id ?? '')
  t.like(await room.points.get(ADMIN, first), { isReturning: true })
  await room.tick()
  const [back] = await room.moves()
  t.like(back, { kind: 'point.untrash', point: first })
  await room.succeed(back?.id ?? '')
  t.like(await room.points.get(ADMIN, first), { trashedAt: null, isReturning: false })
})

test.serial('a host that is away for long costs a point that is wanted back none of its tries', async (t) => {
  const { room, first, order } = await openPruned(t)
  await room.succeed(order?.id ?? '')
  await room.schedules.undelete(OPERATOR, first)
  await room.db.query('update point set moves = $2 where id = $1', [first, MAX_MOVES - 1])
  const move = () => Promise.reject(new FleetError('unavailable', 'the host is away'))
  const away = room.replica({ points: { ...room.points, move } })
  for (const _ of [1, 2]) {
    await away.ticks.pruning.run()
    room.clock.nowMs += HOUR_MS
  }
  t.deepEqual(await room.moves(), [])
  await room.tick()
  t.like((await room.moves())[0], { kind: 'point.untrash', point: first })
})

test.serial('with a point that is taken back come those that it rests on, and they first', async (t) => {
  const { room, id } = await openNights(t, { retention: 2, features: ['incremental'] })
  const chain = [await night(room, id), await night(room, id), await night(room, id)]
  await room.schedules.change(ADMIN, id, { features: [] })
  await night(room, id)
  room.agents.move = false
  await night(room, id)
  const moved = await until('all are ordered out', async () => {
    const found = await room.moves()
    return found.length === 3 && found
  })
  t.deepEqual(
    moved.map(({ point }) => point),
    chain.toReversed(),
  )
  for (const { id: order } of moved) await room.succeed(order)
  const [, middle = ''] = chain
  await room.schedules.undelete(OPERATOR, middle)
  await room.tick()
  const back = await room.moves()
  t.deepEqual(
    back.map(({ kind, point }) => [kind, point]),
    chain.slice(0, 2).map((point) => ['point.untrash', point]),
  )
  // The point alone is not enough.
  await room.succeed(back[1]?.id ?? '')
  await t.throwsAsync(room.points.verify(ADMIN, middle), { code: 'conflict' })
  await room.succeed(back[0]?.id ?? '')
  await t.notThrowsAsync(room.points.verify(ADMIN, middle))
  t.deepEqual(await trashed(room, chain), [false, false, true])
})

test.serial('with `verify` a run is good when its point was read again, and deletes nothing before', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const { id } = await room.create({ features: ['verify', 'compress'], retention: 2 })
  await room.later(2 * HOUR_MS)
  await room.finish(id)
  // Whoever was woken when the schedule was made may be the one who orders it.
  const run = await until('its verification is ordered', async () => {
    const [ran] = await room.ledger(id)
    return ran?.verifyJobId ? ran : undefined
  })
  t.like(run, { state: 'running', outcome: null })
  t.like((await room.sent(run?.verifyJobId ?? '')).spec, { kind: 'point.verify', pointId: run?.pointId })
  await room.tick()
  t.is((await room.db.query(`select id from job where kind = 'point.verify'`)).length, 1)
  await room.succeed(run?.verifyJobId ?? '', { files: 1, bytes: 1 })
  await room.tick()
  t.like((await room.ledger(id))[0], { outcome: 'ran' })

  await room.later(DAY_MS)
  await room.finish(id)
  const second = (await room.ledger(id))[1]
  await room.fail(second?.verifyJobId ?? '', { code: 'corrupt', message: 'damaged', members: ['a'] })
  await room.tick()
  t.like((await room.ledger(id))[1], { outcome: 'failed', reason: 'the point could not be verified: damaged' })
  t.like((await room.get(id)).state, { code: 'scheduled', result: -1 })

  await room.later(DAY_MS)
  await room.finish(id)
  const third = (await room.ledger(id))[2]
  await room.schedules.stop(ADMIN, id)
  await room.tell(third?.verifyJobId ?? '', { type: 'stop', seq: 5, at: 0, phases: [] })
  await room.tick()
  t.like((await room.ledger(id))[2], { outcome: 'stopped' })
})

test.serial('runs that wait to be verified, and jobs that cannot be stopped, hold up no other', async (t) => {
  const room = await openScheduleRoom(t)
  await room.dataset('x')
  const features = ['verify'] as const
  const both = [
    await room.create({ name: 'one', features: [...features] }),
    await room.create({ name: 'two', features: [...features] }),
  ]
  await room.later(2 * HOUR_MS)
  const runs = async () => (await Promise.all(both.map(({ id }) => room.ledger(id)))).flat()
  const [first, second] = await runs()
  // No order of its job can be read any more.
  const [{ spec }] = await room.db.query('select spec from job where id = $1', [first?.jobId])
  await room.db.query(`update schedule_run set stopped_by = 'somebody'`)
  await room.db.query(`update job set spec = '{}' where id = $1`, [first?.jobId])
  await room.ticks.settling.run()
  t.is((await room.jobs.get(ADMIN, second?.jobId ?? '')).state, 'cancelling')
  await room.db.query('update job set spec = $2 where id = $1', [first?.jobId, spec])
  await room.db.query(`update schedule_run set stopped_by = null`)

  for (const run of [first, second]) await room.succeed(run?.jobId ?? '', MADE)
  const store = createFiringStore(room.sql)
  const waiting: string[] = []
  for (let n = 0; n < 2; n += 1) {
    const { verify } = await store.settle({ nowMs: room.clock.nowMs, limit: 1 }, () => 'verify')
    waiting.push(...verify.map(({ id }) => id))
  }
  t.is(new Set(waiting).size, 2)
})

test.serial(
  'a schedule without a good run for its grace raises an alarm, once, and another when it has one',
  async (t) => {
    const told: { body: string; headers: IncomingHttpHeaders }[] = []
    let status = 500
    const server = createServer((request, response) => {
      let body = ''
      request.on('data', (chunk) => {
        body += chunk
      })
      request.on('end', () => {
        told.push({ body, headers: request.headers })
        response.writeHead(status).end()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo // as: it listens on a port
    const hook = { url: `http://127.0.0.1:${port}/alerts`, secret: 'a secret of the hook', ownListeners: () => [] }
    const room = await openScheduleRoom(t, { webhook: createWebhook({ ...hook, allowLoopback: true }) })
    await room.dataset('x')
    const { id } = await room.create()
    room.registry.deaf('a')
    await room.later(2 * HOUR_MS)
    await room.later(4 * MINUTE_MS)
    t.deepEqual(room.events, [])
    t.is(room.overdueCount(), 0)
    await room.later(2 * MINUTE_MS)
    await room.tick(room.replica())
    await room.tick()
    t.deepEqual(
      room.events.map(({ type }) => type),
      ['schedule.overdue'],
    )
    t.like(JSON.parse(room.events[0]?.json ?? ''), {
      type: 'schedule.overdue',
      schedule: 1,
      name: 'nightly',
      due_at: '2026-03-02T02:00:00.000Z',
      reason: "host 'a' was offline",
    })
    t.is(room.overdueCount(), 1)

    await room.ticks.alerts.run()
    t.is(told.length, 1)
    await room.ticks.alerts.run()
    t.is(told.length, 1)
    status = 204
    // As if the clock had been ahead.
    await room.db.query(`update alert set next_at = now() + interval '1 year'`)
    await Promise.all([room.ticks.alerts.run(), room.replica().ticks.alerts.run()])
    t.is(told.length, 2)
    const { body, headers } = told[1] ?? { body: '', headers: {} }
    t.like(JSON.parse(body), { type: 'schedule.overdue', schedule_id: id, group_id: room.groupId })
    const [, seconds, signature = ''] =
      /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['x-holdfast-signature'])) ?? []
    t.is(createHmac('sha256', hook.secret).update(`${seconds}.${body}`).digest('hex'), signature)

    room.registry.heard('a')
    await room.tick()
    await room.finish(id)
    t.deepEqual(
      room.events.map(({ type }) => type),
      ['schedule.overdue', 'schedule.recovered'],
    )
    t.is(room.overdueCount(), 0)

    // A run that failed is no run.
    await room.later(DAY_MS)
    await room.fail((await room.ledger(id))[1]?.jobId ?? '', { code: 'internal', message: 'the disk is broken' })
    await room.tick()
    await room.later(10 * MINUTE_MS)
    t.like(JSON.parse(room.events.at(-1)?.json ?? ''), { type: 'schedule.overdue', reason: 'the disk is broken' })
    await room.schedules.change(ADMIN, id, { disabled: true })
    await room.tick()
    t.is(room.events.at(-1)?.type, 'schedule.recovered')

    const denied = createWebhook({ ...hook, allowLoopback: false })
    await t.throwsAsync(denied({ id, body }), { code: 'refused' })
    const named = createWebhook({ ...hook, url: `http://localhost:${port}/`, allowLoopback: false })
    await t.throwsAsync(named({ id, body }), { code: 'refused' })
    const own = createWebhook({ ...hook, allowLoopback: true, ownListeners: () => [`127.0.0.1:${port}`] })
    await t.throwsAsync(own({ id, body }), { code: 'refused' })
    for (const url of ['http://169.254.169.254/', 'http://[::ffff:169.254.169.254]/']) {
      await t.throwsAsync(createWebhook({ ...hook, url, allowLoopback: true })({ id, body }), { code: 'refused' })
    }
    t.is(told.length, 2)
  },
)

test.serial('a run that nobody works on any more raises the alarm too, and holds no slot of its target', async (t) => {
  const room = await openScheduleRoom(t, { settings: { slots: { perHost: 4, perTarget: 1 } } })
  await room.dataset('x')
  await room.dataset('y', 'b')
  const config = { name: 'nas', protocol: 'webdav', host: 'nas.test', port: 80, encrypt: false, username: 'u' }
  const target = String((await room.targets.create(ADMIN, { config, secret: {} })).number)
  const lost = await room.create({ name: 'lost', target })
  const other = await room.create({ name: 'other', container: 'y', target, at: { repeat: 'daily', start: 7260 } })
  await room.later(2 * HOUR_MS)
  const [run] = await room.ledger(lost.id)
  await room.tell(run?.jobId ?? '', { type: 'start', seq: 1, at: 0 })
  await room.later(MINUTE_MS)
  t.like((await room.ledger(other.id))[0], { state: 'waiting' })

  const heard = new Date(room.clock.nowMs)
  await room.db.query('update job set heard_at = $2 where id = $1', [run?.jobId, heard])
  await room.later(10 * MINUTE_MS)
  t.deepEqual(
    room.events.map(({ type, json }) => [type, JSON.parse(json).name]),
    [['schedule.overdue', 'other']],
  )
  // As whoever finds its lease over leaves it.
  room.registry.deaf('a')
  await room.db.query(`update job set state = 'queued', attempt = 2, heard_at = $2 where id = $1`, [run?.jobId, heard])
  await room.tick()
  t.like((await room.ledger(other.id))[0], { state: 'running' })
  t.like(JSON.parse(room.events.at(-1)?.json ?? ''), {
    type: 'schedule.overdue',
    name: 'lost',
    reason: "its run does not go on: nobody on host 'a' works on it",
  })
  await room.later(2 * DAY_MS)
  t.is(room.overdueCount(), 2)

  room.registry.heard('a')
  await room.db.query(`update job set state = 'running' where id = $1`, [run?.jobId])
  await room.succeed(run?.jobId ?? '', MADE)
  await room.tick()
  t.like(JSON.parse(room.events.at(-1)?.json ?? ''), { type: 'schedule.recovered', name: 'lost' })
})

test.serial('an alarm ends with its schedule', async (t) => {
  const room = await openScheduleRoom(t, { webhook: async () => undefined })
  await room.dataset('x')
  const [late, good] = [
    await room.create(),
    await room.create({ name: 'good', at: { repeat: 'daily', start: 18_000 } }),
  ]
  room.registry.deaf('a')
  await room.later(3 * HOUR_MS)
  t.is(room.overdueCount(), 1)
  for (const { id } of [late, good]) {
    await room.schedules.stop(ADMIN, id)
    await room.schedules.delete(ADMIN, id)
  }
  const events = await room.db.query(
    `select type, body ->> 'name' as name from event where type like 'schedule.%' order by seq`,
  )
  t.deepEqual(events, [
    { type: 'schedule.overdue', name: 'nightly' },
    { type: 'schedule.recovered', name: 'nightly' },
  ])
  const alerts = await room.db.query(`select body ->> 'type' as type from alert order by created_at`)
  t.deepEqual(
    alerts.map(({ type }: { type: string }) => type),
    ['schedule.overdue', 'schedule.recovered'],
  )
})
