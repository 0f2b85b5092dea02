import test, { type ExecutionContext } from 'ava'
import { DEFAULT_GROUP_ID } from '../control-plane/core/caller.ts'
import type { MigrateInstance, MovePhase } from '../control-plane/core/instance-moves.ts'
import { createInstanceStore } from '../control-plane/db/stores/instance-store.ts'
import { openMigrations } from '../control-plane/open-migrations.ts'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { ADMIN, MADE, OPERATOR, openPointRoom } from './harness/point-room.ts'
import { MONDAY_MS } from './harness/schedule-room.ts'

const DAV = { name: 'nas', protocol: 'webdav', host: 'nas.test', port: 443, encrypt: true, base: '/', username: 'u' }
/** LXC's containers are made by those of the fleet alone. */
const MOVER = { ...OPERATOR, fleetRole: 'operator' } as const
const RESTORED = { files: 1, bytes: 2, made: { rootInode: 300, mountpoint: '/pool/made' } }

/** Containers on host `a`, and a target; what agents do is told by the test. Nothing ticks by itself. */
async function openRoom(t: ExecutionContext) {
  const room = await openPointRoom(t)
  const clock = { nowMs: MONDAY_MS }
  const target = await room.targets.create(ADMIN, { config: DAV, secret: { password: room.unguessable() } })

  function replica() {
    const plane = room.plane()
    const opened = openMigrations({
      sql: room.sql,
      ...{ points: plane.points, targets: plane.targets, instances: plane.instances, datasets: plane.datasets },
      ...{ reader: createInstanceStore(room.sql), jobs: plane.jobs, fleet: room.registry },
      logger: createLogger('test', 'error'),
      now: async () => clock.nowMs,
    })
    t.teardown(() => opened.stop())
    return opened
  }
  const first = replica()
  const { migrations } = first

  async function instance(name: string, { host = 'a', state = 'RUNNING', groupId = room.groupId } = {}) {
    const id = newId()
    await room.db.query(
      `insert into instance (id, group_id, host_id, type, ref, name, state, seen_at)
       select $1, $2, id, 'lxc', $4, $4, $5, now() from host where name = $3`,
      [id, groupId, host, name, state],
    )
    return id
  }

  return {
    ...room,
    ...{ clock, replica, first, migrations, target, instance },
    ask: (id: string, given: Partial<MigrateInstance> = {}) =>
      migrations.create(MOVER, id, { host: 'b', target: target.id, ...given }),
    get: (id: string) => migrations.get(ADMIN, id),
    async later(byMs = 6_000) {
      clock.nowMs += byMs
      await first.tick.run()
    },
    /** The job that the move waits for, as its host finds it. */
    async step(id: string, phase: MovePhase, host = 'a') {
      clock.nowMs += 1
      await first.tick.run()
      const move = await migrations.get(ADMIN, id)
      t.is(move.phase, phase, move.reason ?? '')
      const jobId = move.jobId ?? ''
      return { jobId, spec: (await room.sent(jobId, host)).spec }
    },
    gone: (id: string) => room.db.query('update instance set gone_at = now() where id = $1', [id]),
    jobsOf: async (kind: string): Promise<readonly string[]> =>
      (await room.db.query('select id from job where kind = $1 order by ordinal', [kind])).map(
        (job: { readonly id: string }) => job.id,
      ),
    state: async (id: string) => (await room.instances.get(ADMIN, id)).state,
  }
}
type Room = Awaited<ReturnType<typeof openRoom>>

/** Its first point is made, and the dataset there. */
async function untilDown(room: Room, id: string): Promise<void> {
  await room.succeed((await room.step(id, 'copy')).jobId, MADE)
  await room.succeed((await room.step(id, 'precopy', 'b')).jobId, RESTORED)
  await room.succeed((await room.step(id, 'stop')).jobId)
}

async function untilSwitch(room: Room, id: string) {
  await untilDown(room, id)
  await room.succeed((await room.step(id, 'final')).jobId, { ...MADE, full: false })
  return room.step(id, 'switch', 'b')
}

/** What is left to delete goes, and the migration is over. */
async function cleaned(room: Room, id: string) {
  for (let n = 0; n < 20 && (await room.get(id)).endedAt === null; n += 1) {
    await room.later()
    const open = await room.db.query(
      `select id from job where finished_at is null and kind in ('point.delete', 'dataset.delete')`,
    )
    for (const job of open) await room.succeed(job.id)
  }
  return room.get(id)
}

test.serial('an instance goes to another host: it is down for the last increment alone', async (t) => {
  const room = await openRoom(t)
  const web = await room.instance('web')
  const { id } = await room.ask(web)
  const copy = await room.step(id, 'copy')
  const place = { type: 'lxc', instance: 'web' }
  t.like(copy.spec, { kind: 'point.create', source: { kind: 'instance', place, hold: 'none' }, bases: [] })
  t.regex('series' in copy.spec ? copy.spec.series : '', new RegExp(`^migration@${id}/lxc-backup@web-`))
  t.is((await room.get(id)).progress, -1)
  await room.succeed(copy.jobId, MADE)
  const precopy = await room.step(id, 'precopy', 'b')
  t.like(precopy.spec, { kind: 'point.restore', destination: { kind: 'new', place: { pool: 'b-pool' } } })
  await room.succeed(precopy.jobId, RESTORED)
  t.is(await room.state(web), 'RUNNING')
  const stop = await room.step(id, 'stop')
  t.like(stop.spec, { kind: 'instance.stop', instanceId: web })
  await room.succeed(stop.jobId)
  t.like(await t.throwsAsync(room.instances.start(ADMIN, web)), { code: 'conflict' })
  const final = await room.step(id, 'final')
  const base = 'pointId' in copy.spec ? copy.spec.pointId : ''
  t.like(final.spec, { kind: 'point.create', bases: [{ id: base }], source: { hold: 'pause' } })
  await room.succeed(final.jobId, { ...MADE, full: false })
  const last = await room.step(id, 'switch', 'b')
  const into = { kind: 'instance', name: 'web', identity: 'keep', start: true, replace: null, update: base }
  t.like(last.spec, { kind: 'point.restore', destination: into })
  t.like(await t.throwsAsync(room.migrations.stop(OPERATOR, id)), { code: 'conflict' })
  await room.succeed(last.jobId, { ...RESTORED, instance: { instance: 'web', dropped: [] } })

  const moved = await cleaned(room, id)
  t.like(moved, { phase: 'ended', outcome: 'moved', reason: null, jobId: null })
  t.true((moved.downtimeMs ?? -1) >= 0)
  t.like(await room.instances.get(ADMIN, moved.to.instanceId ?? ''), { host: 'b', state: 'RUNNING', name: 'web' })
  t.like(await room.instances.get(ADMIN, web), { host: 'a', state: 'STOPPED', movedTo: 'b' })
  t.is((await room.datasets.get(ADMIN, 'web')).host, 'b')
  t.deepEqual(await room.db.query('select * from point'), [])
  t.like(await t.throwsAsync(room.jobs.retry(ADMIN, last.jobId)), { code: 'conflict' })
  // Backups of it follow: the original is meant no more.
  const { point } = await room.points.create(ADMIN, { source: { instance: 'web' } })
  t.is(point.host, 'b')
  const detail = await room.db.query(`select detail from audit where operation = 'instance.migrate'`)
  t.like(detail[0], { detail: { migration: id, from: 'a', to: 'b' } })
})

test.serial('what cannot be migrated is refused at once', async (t) => {
  const room = await openRoom(t)
  const web = await room.instance('web')
  t.like(await t.throwsAsync(room.ask(web, { target: 'local' })), { code: 'invalid', field: 'target' })
  t.like(await t.throwsAsync(room.ask(web, { target: newId() })), { code: 'not_found', field: 'target' })
  t.like(await t.throwsAsync(room.ask(web, { host: 'a' })), { code: 'invalid', field: 'host' })
  t.like(await t.throwsAsync(room.ask(web, { host: 'none' })), { code: 'not_found', field: 'host' })
  t.like(await t.throwsAsync(room.ask(web, { pool: 'a-pool' })), { code: 'not_found', field: 'pool' })
  t.like(await t.throwsAsync(room.ask(newId())), { code: 'not_found' })
  t.like(await t.throwsAsync(room.ask(await room.instance('ice', { state: 'FROZEN' }))), { code: 'conflict' })
  await room.instance('twin')
  await room.instance('twin', { host: 'b' })
  const [twin] = (await room.instances.list(ADMIN, { name: 'twin', host: 'a' }, { limit: 1 })).items
  t.like(await t.throwsAsync(room.ask(twin?.id ?? '')), { code: 'exists', field: 'host' })
  const theirs = await room.instance('theirs', { groupId: await room.group('other') })
  const to = { host: 'b', target: room.target.id }
  t.like(await t.throwsAsync(room.migrations.create(OPERATOR, theirs, to)), { code: 'not_found' })
  t.like(await t.throwsAsync(room.migrations.create(OPERATOR, web, to)), { code: 'refused' })
  const { id } = await room.ask(web)
  t.like(await t.throwsAsync(room.ask(web)), { code: 'conflict' })
  const tenant = room.tenant(await room.group('third'))
  t.like(await t.throwsAsync(room.migrations.get(tenant, id)), { code: 'not_found' })
  t.like(await t.throwsAsync(room.migrations.stop({ ...OPERATOR, role: 'viewer' }, id)), { code: 'forbidden' })
  t.is((await room.migrations.list(OPERATOR, { open: true }, { limit: 5 })).items.length, 1)
})

test.serial(
  'whatever goes wrong while it is down: it runs again where it was, and nothing is left there',
  async (t) => {
    const room = await openRoom(t)
    const web = await room.instance('web')
    const { id } = await room.ask(web)
    const last = await untilSwitch(room, id)
    await room.fail(last.jobId, { code: 'no_space', message: 'the pool is full' })
    const restart = await room.step(id, 'restart')
    t.like(restart.spec, { kind: 'instance.start', instanceId: web })
    // What could not be started is tried again.
    await room.fail(restart.jobId, { code: 'internal', message: 'not now' })
    await room.later()
    await room.later()
    await room.succeed((await room.step(id, 'restart')).jobId)
    const failed = await cleaned(room, id)
    t.like(failed, { outcome: 'failed', reason: 'the pool is full', phase: 'ended' })
    t.is(await room.state(web), 'RUNNING')
    await t.throwsAsync(room.datasets.get(ADMIN, 'web'), { code: 'not_found' })
    t.deepEqual(await room.db.query('select * from point'), [])
    t.is((await room.instances.get(ADMIN, web)).movedTo, null)

    // One that was stopped before is not started.
    const idle = await room.instance('idle', { state: 'STOPPED' })
    const other = await room.ask(idle)
    await untilDown(room, other.id)
    await room.fail((await room.step(other.id, 'final')).jobId, { code: 'refused', message: 'no root' })
    t.like(await cleaned(room, other.id), { outcome: 'failed', reason: 'no root', downtimeMs: null })
    t.is((await room.jobsOf('instance.start')).length, 2)

    // Somebody started it behind our back: what the last point holds is no standstill.
    const sly = await room.ask(web)
    await untilDown(room, sly.id)
    const held = { kind: 'pause', ms: 3, intact: true }
    await room.succeed((await room.step(sly.id, 'final')).jobId, { ...MADE, full: false, held })
    await room.succeed((await room.step(sly.id, 'restart')).jobId)
    t.regex((await cleaned(room, sly.id)).reason ?? '', /somebody started it/)
  },
)

test.serial(
  'files that change while it runs are of the last increment, and what cannot be read then ends it',
  async (t) => {
    const room = await openRoom(t)
    const web = await room.instance('web')
    const problem = (reason: string) => ({ ...MADE, problemCount: 1, problems: [{ path: 'log', reason }] })
    const locked = await room.ask(web)
    await room.succeed((await room.step(locked.id, 'copy')).jobId, problem('unreadable'))
    t.like(await cleaned(room, locked.id), { outcome: 'failed', reason: '1 of its files could not be read' })
    t.is((await room.jobsOf('instance.stop')).length, 0)

    const busy = await room.ask(web)
    await room.succeed((await room.step(busy.id, 'copy')).jobId, problem('changed'))
    await room.succeed((await room.step(busy.id, 'precopy', 'b')).jobId, RESTORED)
    await room.succeed((await room.step(busy.id, 'stop')).jobId)
    await room.succeed((await room.step(busy.id, 'final')).jobId, { ...problem('changed'), full: false })
    await room.succeed((await room.step(busy.id, 'restart')).jobId)
    t.like(await cleaned(room, busy.id), { outcome: 'failed', reason: '1 of its files could not be read' })
  },
)

test.serial('a migration is stopped before its instance is down, and while it is', async (t) => {
  const room = await openRoom(t)
  const web = await room.instance('web')
  const early = await room.ask(web)
  const copy = await room.step(early.id, 'copy')
  await room.migrations.stop(OPERATOR, early.id)
  t.is((await room.jobs.get(ADMIN, copy.jobId)).state, 'cancelling')
  await room.tell(copy.jobId, { type: 'stop', seq: 5, at: 0, phases: [] })
  t.like(await cleaned(room, early.id), { outcome: 'cancelled', reason: 'somebody stopped it' })
  t.is((await room.jobsOf('instance.stop')).length, 0)

  const late = await room.ask(web)
  await untilDown(room, late.id)
  // Its order is not placed yet.
  await room.migrations.stop(OPERATOR, late.id)
  await room.first.stop()
  const restart = await room.step(late.id, 'restart')
  await room.succeed(restart.jobId)
  t.like(await cleaned(room, late.id), { outcome: 'cancelled', phase: 'ended' })
  t.is(await room.state(web), 'RUNNING')
  t.is((await room.jobsOf('point.create')).length, 2)
})

test.serial('while nobody knows whether it runs there, the original is not started', async (t) => {
  const room = await openRoom(t)
  const web = await room.instance('web')
  const { id } = await room.ask(web)
  const last = await untilSwitch(room, id)
  room.registry.deaf('b')
  await room.later()
  t.like(await room.get(id), { phase: 'switch', jobId: last.jobId })
  t.regex((await room.get(id)).reason ?? '', /host 'b' is silent: until it tells/)
  // Its lease was lost as often as it may be: nobody told how it ended.
  await room.db.query('update job set attempt = 5 where id = $1', [last.jobId])
  await room.fail(last.jobId, { code: 'unavailable', message: 'the host stopped reporting 5 times' })
  for (let n = 0; n < 30; n += 1) await room.later()
  t.like(await room.get(id), { phase: 'switch', outcome: null, jobId: null })
  t.like(await t.throwsAsync(room.migrations.stop(OPERATOR, id)), { code: 'conflict' })
  t.is((await room.jobsOf('instance.start')).length, 0)
  room.registry.heard('b')
  await room.later()
  const again = await room.step(id, 'switch', 'b')
  t.not(again.jobId, last.jobId)
  // The first had made it: the second finds it there, before its host has listed it.
  await room.fail(again.jobId, { code: 'conflict', message: 'an instance was started on this dataset' })
  await room.later()
  t.is((await room.get(id)).phase, 'switch')
  await room.later()
  const third = await room.step(id, 'switch', 'b')
  await room.fail(third.jobId, { code: 'conflict', message: 'an instance was started on this dataset' })
  const there = await room.instance('web', { host: 'b', groupId: DEFAULT_GROUP_ID })
  const moved = await cleaned(room, id)
  t.like(moved, { outcome: 'moved', to: { instanceId: there } })
  t.is((await room.instances.get(ADMIN, there)).groupId, room.groupId)
  t.is((await room.jobsOf('instance.start')).length, 0)
})

test.serial('what its new host could not take back keeps the original stopped while it runs there', async (t) => {
  const room = await openRoom(t)
  const web = await room.instance('web')
  const { id } = await room.ask(web)
  const last = await untilSwitch(room, id)
  await room.fail(last.jobId, { code: 'internal', message: 'it does not stop', left: true })
  const there = await room.instance('web', { host: 'b' })
  await room.later()
  await room.later(31_000)
  await room.later()
  t.like(await room.get(id), { phase: 'restart', jobId: null })
  t.regex((await room.get(id)).reason ?? '', /'web' is RUNNING on host 'b'/)
  room.registry.deaf('b')
  await room.gone(there)
  await room.later()
  t.is((await room.jobsOf('instance.start')).length, 0)
  room.registry.heard('b')
  await room.later()
  await room.succeed((await room.step(id, 'restart')).jobId)
  t.like(await cleaned(room, id), { outcome: 'failed', reason: 'it does not stop' })

  // Its end was lost, and it had been taken back: its dataset is good for nothing, and nothing is there.
  const other = await room.instance('other')
  const lost = await room.ask(other)
  const first = await untilSwitch(room, lost.id)
  await room.db.query('update job set attempt = 5 where id = $1', [first.jobId])
  await room.fail(first.jobId, { code: 'unavailable', message: 'the host stopped reporting 5 times' })
  for (let n = 0; n < 8; n += 1) {
    const { jobId } = await room.step(lost.id, 'switch', 'b')
    await room.fail(jobId, { code: 'conflict', message: 'an instance was started on this dataset' })
    await room.later()
    await room.later()
  }
  await room.later(31_000)
  await room.succeed((await room.step(lost.id, 'restart')).jobId)
  t.like(await cleaned(room, lost.id), { outcome: 'failed' })
})

test.serial('two replicas place each order once, also when one dies between a claim and its order', async (t) => {
  const room = await openRoom(t)
  const ids = await Promise.all(
    ['m', 'n', 'o', 'p'].map(async (name) => (await room.ask(await room.instance(name))).id),
  )
  await room.first.stop()
  const second = room.replica()
  const both = () => Promise.all([room.first.tick.run(), second.tick.run()])
  for (const kind of ['point.create', 'point.restore', 'instance.stop'] as const) {
    await Promise.all([both(), both()])
    const jobs = await room.jobsOf(kind)
    t.is(jobs.length, 4, kind)
    const result = kind === 'point.create' ? MADE : kind === 'point.restore' ? RESTORED : {}
    for (const jobId of jobs) await room.succeed(jobId, result)
  }
  // Claimed by one that died: the other comes to it when that lease is over.
  await room.db.query('update instance_move set lease = $1', [new Date(room.clock.nowMs + 10_000)])
  await both()
  t.is((await room.jobsOf('point.create')).length, 4)
  room.clock.nowMs += 11_000
  await both()
  t.is((await room.jobsOf('point.create')).length, 8)
  for (const id of ids) t.is((await room.get(id)).phase, 'final')
})
