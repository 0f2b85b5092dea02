import test from 'ava'
import type { CreateRestoreTask } from '../control-plane/core/restore-tasks.ts'
import { ADMIN, OPERATOR } from './harness/point-room.ts'
import { DAY_MS, HOUR_MS, openScheduleRoom, type ScheduleRoom } from './harness/schedule-room.ts'

const RESTORED = { files: 1, bytes: 1 }

async function twoNights(room: ScheduleRoom) {
  await room.dataset('x')
  const { id, number } = await room.create()
  await room.later(2 * HOUR_MS)
  const first = await room.finish(id)
  await room.later(DAY_MS)
  const second = await room.finish(id)
  return { number, points: [await room.points.get(ADMIN, first), await room.points.get(ADMIN, second)] }
}

const asked = (given: Partial<CreateRestoreTask> = {}, portfolio = 'nightly'): CreateRestoreTask => ({
  ...{ name: 'again', type: 'dataset', container: 'y', source: { path: '/backups/', portfolio } },
  ...given,
})

test.serial('a restore finds its point by the name or number of a backup, and a time if one is named', async (t) => {
  const room = await openScheduleRoom(t)
  const { number, points } = await twoNights(room)
  const made = await room.restoreTasks.create(ADMIN, asked())
  t.like(made, { number: 1, source: { target: null, path: '/backups/', portfolio: 'nightly' } })
  t.like(made.state, { code: 'init', result: null, start: null, end: null })
  await room.tick()
  const running = await room.restoreTasks.get(ADMIN, '1')
  t.like(running, { pointId: points[1]?.id, state: { code: 'running', progress: -1, start: running.state.start } })
  t.like((await room.sent(running.jobId ?? '')).spec, { kind: 'point.restore', destination: { kind: 'new' } })
  t.deepEqual(await room.schedules.tasksOf(ADMIN, [running.jobId ?? '']), [
    { jobId: running.jobId ?? '', kind: 'restore', number: 1 },
  ])
  await t.throwsAsync(room.restoreTasks.delete(ADMIN, '1'), { code: 'conflict' })
  await room.succeed(running.jobId ?? '', { ...RESTORED, made: { rootInode: 256, mountpoint: '/pool/y' } })
  await room.tick()
  const ended = await room.restoreTasks.get(ADMIN, made.id)
  t.like(ended.state, { code: 'completed', result: 0, progress: null })
  t.truthy(ended.state.start && ended.state.end)
  t.is((await room.restoreTasks.delete(ADMIN, '1')).id, made.id)

  const named = [`nightly/${points[0]?.name}`, String(number), `${number}/${points[0]?.name}`]
  const found = []
  for (const [n, portfolio] of named.entries()) {
    await room.restoreTasks.create(ADMIN, asked({ container: `z${n}` }, portfolio))
    await room.tick()
    found.push((await room.restoreTasks.get(ADMIN, String(n + 2))).pointId)
  }
  t.deepEqual(found, [points[0]?.id, points[1]?.id, points[0]?.id])
})

test.serial('a point that rests on a damaged one is no good one', async (t) => {
  const room = await openScheduleRoom(t)
  const { number, points } = await twoNights(room)
  await room.schedules.change(ADMIN, String(number), { features: ['incremental'] })
  await room.later(DAY_MS)
  const [schedule] = (await room.schedules.list(ADMIN, { limit: 1 })).items
  const third = await room.points.get(ADMIN, await room.finish(schedule?.id ?? ''))
  t.is(third.chain.at(-1), points[1]?.id ?? '')
  await room.db.query('update point set damaged_at = now() where id = $1', [points[1]?.id])
  await room.restoreTasks.create(ADMIN, asked())
  await room.restoreTasks.create(ADMIN, asked({ container: 'z' }, `nightly/${third.name}`))
  await room.tick()
  t.is((await room.restoreTasks.get(ADMIN, '1')).pointId, points[0]?.id ?? null)
  t.is((await room.restoreTasks.get(ADMIN, '2')).pointId, third.id ?? null, 'whoever names a point means it')
})

test.serial('a restore that cannot be fails itself, and says why', async (t) => {
  const room = await openScheduleRoom(t)
  const { points } = await twoNights(room)
  const wrong = [
    asked({}, 'nobody'),
    asked({}, 'nightly/20200101T000000Z'),
    asked({}, 'nightly/yesterday'),
    asked({ container: 'x', host: 'b' }),
    asked({ type: 'lxc', container: 'utest' }),
    asked({ source: { path: '/elsewhere', portfolio: 'nightly' } }),
  ]
  for (const request of wrong) await room.restoreTasks.create(ADMIN, request)
  await room.tick()
  const { items } = await room.restoreTasks.list(ADMIN, { limit: 10 })
  t.deepEqual(
    items.map(({ state }) => [state.code, state.result]),
    wrong.map(() => ['completed', -1]),
  )
  t.deepEqual(
    items.map(({ state }) => state.reason?.replace(/'.*/, '')),
    [
      'there is no good point of the backup ',
      'there is no point ',
      'portfolio: must be like 20260131T235959Z',
      'there is no good point of the backup ',
      'the point is not one of a container; restore it to a dataset',
      'there is no good point of the backup ',
    ],
  )
  const failing = await room.restoreTasks.create(ADMIN, asked())
  await room.tick()
  const { jobId } = await room.restoreTasks.get(ADMIN, failing.id)
  await room.fail(jobId ?? '', { code: 'no_space', message: 'the pool is full' })
  await room.tick()
  t.like((await room.restoreTasks.get(ADMIN, failing.id)).state, { result: -1, reason: 'the pool is full' })
  t.truthy(points)
})

test.serial('a restore waits for its host, can be stopped, and one that is disabled does nothing', async (t) => {
  const room = await openScheduleRoom(t)
  await twoNights(room)
  const idle = await room.restoreTasks.create(ADMIN, asked({ disabled: true }))
  room.registry.deaf('a')
  const { id } = await room.restoreTasks.create(ADMIN, asked())
  await room.tick()
  t.like((await room.restoreTasks.get(ADMIN, id)).state, { code: 'waiting', start: null })
  t.regex((await room.restoreTasks.get(ADMIN, id)).state.reason ?? '', /^host 'a' is offline/)
  t.like((await room.restoreTasks.stop(ADMIN, id)).state, { code: 'completed', result: -2 })
  t.like((await room.restoreTasks.get(ADMIN, idle.id)).state, { code: 'init', result: null })

  room.registry.heard('a')
  const running = await room.restoreTasks.create(ADMIN, asked())
  await room.later(HOUR_MS)
  await room.restoreTasks.stop(ADMIN, running.id)
  const { jobId } = await room.restoreTasks.get(ADMIN, running.id)
  t.is((await room.jobs.get(ADMIN, jobId ?? '')).state, 'cancelling')
  await room.tell(jobId ?? '', { type: 'stop', seq: 5, at: 0, phases: [] })
  await room.tick()
  t.like((await room.restoreTasks.get(ADMIN, running.id)).state, { code: 'completed', result: -2 })
  t.like(await room.restoreTasks.stop(ADMIN, running.id), { state: { result: -2 } })

  const late = await room.restoreTasks.create(ADMIN, asked({ container: 'w' }))
  room.registry.deaf('a')
  await room.later(25 * HOUR_MS)
  t.like((await room.restoreTasks.get(ADMIN, late.id)).state, { code: 'completed', result: -1 })
})

test.serial(
  'directories are restored where a host allows it, by operators of the fleet; groups see their own',
  async (t) => {
    const room = await openScheduleRoom(t)
    const { id } = await room.create({ name: 'shop', type: 'path', container: '/srv/data/shop', host: 'a' })
    await room.later(2 * HOUR_MS)
    await room.finish(id)
    const path = { type: 'path' as const, container: '/tmp/shop' }
    await t.throwsAsync(room.restoreTasks.create(OPERATOR, asked(path, 'shop')), { code: 'refused' })
    await t.throwsAsync(room.restoreTasks.create(ADMIN, asked({ ...path, container: '/etc/shop' }, 'shop')), {
      code: 'refused',
    })
    await t.throwsAsync(room.restoreTasks.create(ADMIN, asked(path, 'shop')), { code: 'conflict' })
    const { number } = await room.restoreTasks.create(ADMIN, asked({ ...path, host: 'a' }, 'shop'))
    await room.tick()
    const { jobId } = await room.restoreTasks.get(ADMIN, String(number))
    t.like((await room.sent(jobId ?? '')).spec, { destination: { kind: 'host', path: '/tmp/shop' }, overwrite: true })
    const other = room.tenant(await room.group('other'))
    await t.throwsAsync(room.restoreTasks.get(other, String(number)), { code: 'not_found' })
    await t.throwsAsync(room.restoreTasks.stop(other, String(number)), { code: 'not_found' })
    await t.throwsAsync(room.restoreTasks.create({ ...OPERATOR, role: 'viewer' }, asked()), { code: 'forbidden' })
    // The points of another group are none of its backups'.
    const foreign = await room.restoreTasks.create(other, asked({}, 'shop'))
    await room.tick()
    t.like((await room.restoreTasks.get(other, foreign.id)).state, { result: -1 })
  },
)
