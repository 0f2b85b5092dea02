import test, { type ExecutionContext } from 'ava'
import type { Caller } from '../control-plane/core/caller.ts'
import { createFiringStore } from '../control-plane/db/stores/firing-store.ts'
import { createMoveTickStore } from '../control-plane/db/stores/move-tick-store.ts'
import { newId } from '../shared/ids.ts'
import type { InstanceType } from '../shared/instance-spec.ts'
import { ADMIN, MADE, OPERATOR } from './harness/point-room.ts'
import { DAY_MS, HOUR_MS, openScheduleRoom, type ScheduleRoom } from './harness/schedule-room.ts'

interface Told {
  readonly host?: string
  readonly type?: InstanceType
  readonly ref?: string
  readonly groupId?: string
}

async function openRoom(t: ExecutionContext) {
  const room = await openScheduleRoom(t)
  return {
    ...room,
    /** One that its agent has told of. @returns its id. */
    async instance(name: string, { host = 'a', type = 'lxc', ref = name, groupId = room.groupId }: Told = {}) {
      const id = newId()
      await room.db.query(
        `insert into instance (id, group_id, host_id, type, ref, name, state, seen_at)
         select $1, $2, id, $4, $5, $6, 'STOPPED', now() from host where name = $3`,
        [id, groupId, host, type, ref, name],
      )
      return id
    },
    gone: (id: string) => room.db.query('update instance set gone_at = now() where id = $1', [id]),
    holds: (jobId: string): Promise<readonly { lane: string; exclusive: boolean }[]> =>
      room.db.query('select lane, exclusive from lane_hold where job_id = $1 order by exclusive, lane', [jobId]),
    /** A point of a container that has been made. */
    async pointOf(instance: string, caller: Caller = ADMIN) {
      const { jobId, point } = await room.points.create(caller, { source: { instance } })
      await room.succeed(jobId, MADE)
      return room.points.get(caller, point.id)
    },
    /** The agent of a restore is done: what it made is called `ref`. */
    async restored(jobId: string, ref: string) {
      const made = { rootInode: 300, mountpoint: '/pool/made' }
      await room.succeed(jobId, { files: 1, bytes: 2, made, instance: { instance: ref, dropped: [] } })
    },
  }
}

test.serial(
  'a container is backed up by its name or what its agent calls it, and the point tells of it for good; who is meant must be one of the group',
  async (t) => {
    const room = await openRoom(t)
    const lxc = await room.instance('utest')
    const ref = 'c0ffee'.padEnd(64, '0')
    const docker = await room.instance('shop', { type: 'docker', ref })
    const { jobId, point } = await room.points.create(ADMIN, { source: { instance: 'utest', hold: 'pause' } })
    t.deepEqual(point.source, { kind: 'instance', id: lxc, type: 'lxc', name: 'utest' })
    t.regex(point.series, /^lxc-backup@utest-[0-9a-f]{8}$/)
    const source = { kind: 'instance', place: { type: 'lxc', instance: 'utest' }, hold: 'pause' } as const
    t.like((await room.sent(jobId)).spec, { kind: 'point.create', source, about: { source: 'utest', type: 'lxc' } })
    t.true((await room.holds(jobId)).some(({ lane, exclusive }) => lane === lxc && !exclusive))
    await room.succeed(jobId, { ...MADE, held: { kind: 'pause', ms: 12, intact: true } })
    const other = await room.points.create(ADMIN, { source: { instance: ref, type: 'docker', host: 'a' } })
    t.like((await room.sent(other.jobId)).spec, { source: { place: { instance: ref }, hold: 'none' } })
    await room.gone(lxc)
    const shown = async (source?: string) =>
      (await room.points.list(ADMIN, { source }, { limit: 9 })).items.map((found) => found.id)
    t.deepEqual(await shown('lxc:utest'), [point.id])
    t.deepEqual(await shown('docker:shop'), [other.point.id])
    t.deepEqual(await shown('utest'), [])
    t.is((await room.points.get(ADMIN, point.id)).status, 'good')
    t.truthy(docker)

    await room.instance('web')
    await room.instance('web', { host: 'b' })
    await room.instance('both')
    await room.instance('both', { type: 'docker', ref: 'd'.repeat(64) })
    const create = (source: { instance: string; type?: InstanceType; host?: string }, caller = ADMIN) =>
      room.points.create(caller, { source })
    const several = await t.throwsAsync(create({ instance: 'web' }), { code: 'conflict' })
    t.like(several, { field: 'source.host', blockers: ['a', 'b'] })
    t.like(await t.throwsAsync(create({ instance: 'both' })), { code: 'conflict', blockers: ['docker', 'lxc'] })
    t.is((await create({ instance: 'web', host: 'b' })).point.host, 'b')
    t.like((await create({ instance: 'both', type: 'lxc' })).point.source, { type: 'lxc' })
    t.like(await t.throwsAsync(create({ instance: 'none' })), { code: 'not_found', field: 'source.instance' })
    t.like(await t.throwsAsync(create({ instance: 'web', host: 'no' })), { code: 'not_found', field: 'source.host' })
    const tenant = room.tenant(await room.group('other'))
    await t.throwsAsync(create({ instance: 'both', type: 'lxc' }, tenant), { code: 'not_found' })
    await room.instance('theirs', { groupId: tenant.groupId })
    t.is((await create({ instance: 'theirs' }, tenant)).point.groupId, tenant.groupId)
    room.registry.deaf('a')
    await t.throwsAsync(create({ instance: 'both', type: 'lxc' }), { code: 'unavailable' })
  },
)

test.serial('a container is made anew from its point, on a dataset that is made for it', async (t) => {
  const room = await openRoom(t)
  const utest = await room.instance('utest')
  const { id } = await room.pointOf('utest')
  const restore = (destination: object, given: object = {}) =>
    room.points.restore(ADMIN, id, { destination: { instance: 'utest', ...destination }, ...given })
  t.like(await t.throwsAsync(restore({})), { code: 'exists', field: 'destination.instance' })
  t.like(await t.throwsAsync(restore({ type: 'docker' })), { code: 'invalid', field: 'destination.type' })
  t.like(await t.throwsAsync(restore({ replace: true }, { paths: ['rootfs/etc'] })), { code: 'invalid' })
  t.like(await t.throwsAsync(restore({ host: 'b' })), { code: 'invalid', field: 'destination.host' })
  await t.throwsAsync(restore({ instance: '../x' }), { code: 'invalid' })

  const beside = await restore({ instance: 'utest-beside', start: true })
  const { spec } = await room.sent(beside.jobId)
  const made = { kind: 'instance', type: 'lxc', name: 'utest-beside', identity: 'new', replace: null, start: true }
  t.like(spec, { kind: 'point.restore', paths: [], destination: { ...made, update: null } })
  await t.throwsAsync(room.points.restore(ADMIN, id, { destination: { instance: 'utest-beside' } }), { code: 'exists' })
  await room.restored(beside.jobId, 'utest-beside')
  t.like(await room.datasets.get(ADMIN, 'utest-beside'), {
    state: 'available',
    rootInode: 300,
    tags: { 'holdfast.instance': 'lxc:utest-beside' },
  })
  const found = await room.instances.list(ADMIN, { name: 'utest-beside' }, { limit: 2 })
  t.like(found.items[0], { ref: 'utest-beside', state: 'RUNNING', groupId: room.groupId })

  await room.gone(utest)
  const again = await restore({})
  t.like((await room.sent(again.jobId)).spec, { destination: { name: 'utest', identity: 'keep', replace: null } })
  await room.fail(again.jobId, { code: 'no_space', message: 'the pool is full' })
  await t.throwsAsync(room.datasets.get(ADMIN, 'utest'), { code: 'not_found' })
  t.like((await room.jobs.retry(ADMIN, again.jobId)).spec, { destination: { kind: 'instance', name: 'utest' } })
})

test.serial('what is replaced is held, and the dataset that was made for it goes when it is gone', async (t) => {
  const room = await openRoom(t)
  const utest = await room.instance('utest')
  const { id } = await room.pointOf('utest')
  const restore = async () => {
    const destination = { instance: 'utest', replace: true }
    const { jobId } = await room.points.restore(ADMIN, id, { destination })
    return { jobId, spec: (await room.sent(jobId)).spec }
  }
  const first = await restore()
  t.like(first.spec, { destination: { name: 'utest', identity: 'keep', replace: 'utest', start: false } })
  t.true((await room.holds(first.jobId)).some(({ lane, exclusive }) => lane === utest && exclusive))
  await room.restored(first.jobId, 'utest')
  await room.tick()
  t.is((await room.datasets.get(ADMIN, 'utest')).state, 'available', 'it lay in no dataset of ours')

  await room.dataset('utest-2')
  const failing = await restore()
  await room.fail(failing.jobId, { code: 'conflict', message: 'the container runs' })
  await room.tick()
  t.is((await room.datasets.get(ADMIN, 'utest')).state, 'available')
  const second = await restore()
  await room.tick()
  t.is((await room.datasets.get(ADMIN, 'utest')).state, 'available', 'until the new one is whole')
  await room.restored(second.jobId, 'utest')
  await room.tick()
  t.is((await room.datasets.get(ADMIN, 'utest')).state, 'deleting')
  t.is((await room.datasets.get(ADMIN, 'utest-2')).state, 'available', 'that was never its')
  t.is((await room.datasets.get(ADMIN, 'utest-3')).state, 'available')
  const deletion = async () => {
    const { items } = await room.jobs.list(ADMIN, { kind: 'dataset.delete' }, { limit: 9 })
    return items
  }
  await room.fail((await deletion())[0]?.id ?? '', { code: 'busy', message: 'it is in use' })
  await room.tick()
  t.is((await deletion()).length, 1, 'not at once again')
  await room.later(HOUR_MS)
  t.is((await deletion()).length, 2)
  await room.succeed((await deletion())[0]?.id ?? '')
  await t.throwsAsync(room.datasets.get(ADMIN, 'utest'), { code: 'not_found' })
  t.deepEqual(await room.db.query('select * from superseded_dataset'), [])

  await room.create({ container: 'utest-3' })
  await room.restored((await restore()).jobId, 'utest')
  await room.tick()
  const [kept] = await room.db.query('select reason from superseded_dataset')
  t.is(kept?.reason, 'it is used by the backup nightly')
  await room.db.query(`update superseded_dataset set attempts = 11, next_at = next_at + interval '1 year'`)
  await room.later(DAY_MS)
  t.is((await room.datasets.get(ADMIN, 'utest-3')).state, 'available')
  t.deepEqual(await room.db.query('select * from superseded_dataset'), [], 'it is given up')
})

const NIGHT = { type: 'lxc', container: 'utest' } as const

async function run(room: ScheduleRoom, id: string) {
  return (await room.ledger(id)).at(-1)
}

test.serial('schedules of containers: one that is there, held as its features say, counted for its host', async (t) => {
  const room = await openRoom(t)
  t.like(await t.throwsAsync(room.create(NIGHT)), { code: 'not_found', field: 'container' })
  const id = await room.instance('utest', { host: 'b' })
  t.like(await t.throwsAsync(room.create({ ...NIGHT, features: ['pause', 'stop'] })), { code: 'invalid' })
  t.like(await t.throwsAsync(room.create({ ...NIGHT, host: 'a' })), { code: 'not_found', field: 'container' })
  const made = await room.create({ ...NIGHT, features: ['pause', 'compress'] })
  t.is(made.host, null)
  const stopping = await room.create({ ...NIGHT, name: 'offline', features: ['stop'] })
  room.registry.deaf('b')
  await room.later(2 * HOUR_MS)
  t.like(await run(room, made.id), { state: 'waiting', host: 'b', reason: "host 'b' was offline" })
  room.registry.heard('b')
  await room.tick()
  t.like(await run(room, made.id), { state: 'running', host: 'b' })
  const { spec } = await room.sent((await run(room, made.id))?.jobId ?? '', 'b')
  t.like(spec, { source: { kind: 'instance', hold: 'pause' }, series: 'backups/container-backup@nightly' })
  t.like((await room.sent((await run(room, stopping.id))?.jobId ?? '', 'b')).spec, { source: { hold: 'stop' } })
  await room.finish(made.id)
  t.is((await run(room, made.id))?.outcome, 'ran')

  await room.gone(id)
  await room.later(DAY_MS)
  t.like(await run(room, made.id), { outcome: 'failed', reason: "there is no lxc container 'utest'", jobId: null })
  await room.instance('utest')
  const theirs = await room.instance('utest', { host: 'b', groupId: await room.group('other') })
  await room.later(DAY_MS)
  t.like(await run(room, made.id), { state: 'running', host: 'a' }, 'it follows its container')
  await room.finish(made.id)

  await room.gone(theirs)
  await room.instance('utest', { host: 'b' })
  const several = await t.throwsAsync(room.create({ ...NIGHT, name: 'several' }), { code: 'conflict' })
  t.like(several, { field: 'host', blockers: ['a', 'b'] })
  t.is((await room.create({ ...NIGHT, name: 'of b', host: 'b' })).host, 'b')
  await room.later(DAY_MS)
  t.like(await run(room, made.id), { state: 'waiting' })
  t.regex((await run(room, made.id))?.reason ?? '', /several hosts have 'utest': a, b/)
  await room.later(DAY_MS)
  const [, , , missed] = await room.ledger(made.id)
  t.like(missed, { outcome: 'missed' })
  t.regex(missed?.reason ?? '', /several hosts have 'utest': a, b; name one of them as host, until it was too late/)
})

test.serial('a container that was migrated is backed up, and its runs are counted, where it is now', async (t) => {
  const room = await openRoom(t)
  const original = await room.instance('utest')
  const made = await room.create(NIGHT)
  await room.instance('utest', { host: 'b' })
  await room.db.query(`update instance set moved_to = 'b' where id = $1`, [original])
  room.registry.deaf('b')
  await room.later(2 * HOUR_MS)
  t.like(await run(room, made.id), { state: 'waiting', host: 'b', reason: "host 'b' was offline" })
  room.registry.heard('b')
  await room.tick()
  const fired = await run(room, made.id)
  t.like(fired, { state: 'running', host: 'b' })
  // A replica that was slow knows no better than that it could not be placed.
  const end = { outcome: 'failed', reason: 'late', result: -1 } as const
  await createFiringStore(room.sql).end({ id: fired?.id ?? '', from: 'granted' }, room.clock.nowMs, end)
  t.like(await run(room, made.id), { state: 'running' })
})

test.serial('what another group made under the name of a container that migrates stays theirs', async (t) => {
  const room = await openRoom(t)
  const other = await room.group('other')
  const moved = async (given: { readonly groupId: string; readonly isOlder: boolean }) => {
    const [id, stepId] = [newId(), newId()]
    const name = `c-${id}`
    const original = await room.instance(name)
    await room.db.query(
      `insert into instance_move (id, group_id, instance_id, type, name, from_host, to_host, phase, step_id, asked_by)
       values ($1, $2, $3, 'lxc', $4, 'a', 'b', 'switch', $5, 'x')`,
      [id, room.groupId, original, name, stepId],
    )
    const there = await room.instance(name, { host: 'b', groupId: given.groupId })
    if (given.isOlder)
      await room.db.query(`update instance set created_at = now() - interval '1 day' where id = $1`, [there])
    await createMoveTickStore(room.sql).turn({ id, stepId }, { phase: 'tidy', outcome: 'moved' }, room.clock.nowMs)
    const [row] = await room.db.query('select group_id from instance where id = $1', [there])
    return row.group_id
  }
  t.is(await moved({ groupId: other, isOlder: false }), other)
  t.is(await moved({ groupId: other, isOlder: true }), room.groupId)
  t.is(await moved({ groupId: room.groupId, isOlder: false }), room.groupId)
})

test.serial('restore tasks: over the container, or into a new one; its job tells why it failed', async (t) => {
  const room = await openRoom(t)
  await room.instance('utest')
  const { id } = await room.create({ ...NIGHT })
  await room.later(2 * HOUR_MS)
  await room.finish(id)
  const ask = (given: object = {}, caller = ADMIN) => {
    const source = { path: '/backups', portfolio: 'nightly' }
    return room.restoreTasks.create(caller, { name: 'back', ...NIGHT, source, ...given })
  }
  // What comes from a target would be root on a host.
  t.like(await t.throwsAsync(ask({}, OPERATOR)), { code: 'refused', field: 'type' })
  const over = await ask()
  await room.tick()
  const { jobId } = await room.restoreTasks.get(ADMIN, over.id)
  const spec = {
    kind: 'point.restore',
    destination: { kind: 'instance', name: 'utest', replace: 'utest', start: false },
  }
  t.like((await room.sent(jobId ?? '')).spec, spec)
  await room.fail(jobId ?? '', { code: 'conflict', message: "the container 'utest' runs: stop it first" })
  await room.tick()
  t.like((await room.restoreTasks.get(ADMIN, over.id)).state, {
    code: 'completed',
    result: -1,
    reason: "the container 'utest' runs: stop it first",
  })
  const fresh = await ask({ container: 'again', start: true })
  t.true(fresh.start)
  await room.tick()
  const made = (await room.restoreTasks.get(ADMIN, fresh.id)).jobId ?? ''
  t.like((await room.sent(made)).spec, { destination: { name: 'again', identity: 'new', replace: null, start: true } })
  await room.restored(made, 'again')
  await room.tick()
  t.like((await room.restoreTasks.get(ADMIN, fresh.id)).state, { code: 'completed', result: 0 })

  const stopped = await ask({ container: 'later' })
  await room.tick()
  await room.restoreTasks.stop(ADMIN, stopped.id)
  const stopping = (await room.restoreTasks.get(ADMIN, stopped.id)).jobId ?? ''
  await room.tell(stopping, { type: 'stop', seq: 5, at: 0, phases: [] })
  await room.tick()
  t.like((await room.restoreTasks.get(ADMIN, stopped.id)).state, { code: 'completed', result: -2 })
  t.deepEqual((await room.instances.list(ADMIN, { name: 'later' }, { limit: 1 })).items, [])
  await room.instance('web')
  await room.instance('web', { host: 'b' })
  t.like(await t.throwsAsync(ask({ container: 'web' })), { code: 'conflict', blockers: ['a', 'b'] })

  // A dataset that is there is taken the place of, with all that it holds.
  await room.dataset('x')
  const data = await room.create({ name: 'data' })
  await room.later(DAY_MS)
  await room.finish(data.id)
  const source = { path: '/backups', portfolio: 'data' }
  const task = await room.restoreTasks.create(ADMIN, { name: 'back', type: 'dataset', container: 'x', source })
  await room.tick()
  const whole = (await room.restoreTasks.get(ADMIN, task.id)).jobId ?? ''
  t.like((await room.sent(whole)).spec, { destination: { kind: 'dataset', path: '/' }, overwrite: true, paths: [] })
  await room.succeed(whole, { files: 1, bytes: 2, made: { rootInode: 301, mountpoint: '/pool/x' } })
  await room.tick()
  t.like(await room.datasets.get(ADMIN, 'x'), { state: 'available', rootInode: 301 })
})
