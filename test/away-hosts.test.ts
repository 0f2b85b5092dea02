import test from 'ava'
import { pino } from 'pino'
import { expireJob, giveUpCancelled } from '../control-plane/core/job-change.ts'
import { settleRestored } from '../control-plane/db/station/settle-restored.ts'
import { createDispatchStore } from '../control-plane/db/stores/dispatch-store.ts'
import { createKnownPoints } from '../control-plane/db/stores/known-points.ts'
import { openReception } from '../control-plane/hosts/reception.ts'
import { startIngest } from '../control-plane/jobs/ingest.ts'
import { createSweep } from '../control-plane/jobs/sweep.ts'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { inboxPrefix } from '../shared/wire/agent-permissions.ts'
import { WIRE_VERSION } from '../shared/wire/messages.ts'
import { subjects } from '../shared/wire/subjects.ts'
import { ADMIN, openPointRoom, type PointRoom } from './harness/point-room.ts'
import { until } from './harness/until.ts'

const DAY_MS = 86_400_000

function receptionOf(room: PointRoom) {
  return openReception({
    ...{ nats: room.nats, registry: room.registry, hosts: room.hosts, changes: room.changes, roots: room.roots },
    ...{
      dispatch: createDispatchStore(room.sql),
      knownPoints: createKnownPoints(room.sql),
      afterCommit: room.committed,
    },
    ...{ isOpen: true, ownListeners: () => [], onInstances: () => undefined, onExports: () => undefined },
    logger: createLogger('test', 'error'),
  })
}

test('what was cancelled on a host that never comes back is over after long, and stopped should it come back', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('old')
  const orders = [
    await room.datasets.create(ADMIN, { name: 'new', host: 'a' }),
    await room.datasets.delete(ADMIN, { name: 'old' }),
  ]
  for (const { jobId } of orders) {
    await room.sent(jobId)
    await room.tell(jobId, { type: 'start', seq: 1, at: 0 })
    await room.jobs.cancel(ADMIN, jobId)
  }
  const give = () => room.changes.changeGone({ awayMs: DAY_MS, limit: 10 }, giveUpCancelled)
  const away = (hours: number, state = 'offline') =>
    room.db.query('update host set state = $2, last_seen_at = now() - make_interval(hours => $1) where name = $3', [
      hours,
      state,
      'a',
    ])
  await away(23)
  t.deepEqual((await give()).changes, [])
  await away(25, 'online')
  t.deepEqual((await give()).changes, [])
  await away(25)
  t.is((await give()).changes.length, 2)
  for (const { jobId } of orders) t.like(await room.jobs.get(ADMIN, jobId), { state: 'cancelled', host: 'a' })
  await t.throwsAsync(room.datasets.get(ADMIN, 'new'), { code: 'not_found' })
  t.like(await room.datasets.get(ADMIN, 'old'), { state: 'available' })

  const stopped: string[] = []
  const lines: { readonly event?: string; readonly jobId?: string }[] = []
  const ingest = startIngest({
    ...{ nats: room.nats, store: room.changes, afterCommit: room.committed, prepare: async () => undefined },
    ...{ onHeard: () => undefined, admits: () => true, onForged: () => undefined },
    onUnknown: ({ id }) => void stopped.push(id),
    logger: pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
  })
  try {
    const [first, second] = orders.map(({ jobId }) => jobId)
    const tell = (jobId: string | undefined, event: object) => {
      const report = { jobId, attempt: 1, delivery: 2, events: [{ seq: 1, at: 0, ...event }] }
      room.nats.publish(subjects.event('a'), JSON.stringify({ v: WIRE_VERSION, reports: [report] }))
    }
    tell(second, { type: 'succeed', result: {}, phases: [] })
    tell(first, { type: 'start' })
    await until('it is told to stop', () => stopped.length > 0)
    t.deepEqual(stopped, [first])
    const overtaken = lines.filter(({ event }) => event === 'job.overtaken')
    t.deepEqual(
      overtaken.map(({ jobId }) => jobId),
      [second],
    )
  } finally {
    await ingest.stop()
  }
})

test('what was open when a station was restored is over after long, also on a host that was never heard since', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('old')
  const { jobId } = await room.datasets.delete(ADMIN, { name: 'old' })
  await room.sent(jobId)
  await room.db.query('create table station_restoring ()')
  const url = 'url' in room.db.options ? room.db.options.url : undefined
  await settleRestored(url ?? '', { id: newId(), madeAt: new Date() })
  // Another replica: it remembers nothing of what was before.
  const { changes } = room.plane()
  const give = () => changes.changeGone({ awayMs: DAY_MS, limit: 10 }, giveUpCancelled)
  t.deepEqual((await give()).changes, [])
  await room.db.query(`update station set restored_at = now() - interval '25 hours'`)
  t.is((await give()).changes.length, 1)
  t.like(await room.jobs.get(ADMIN, jobId), { state: 'cancelled' })
  t.like(await room.datasets.get(ADMIN, 'old'), { state: 'available' })
})

test('a job that this version does not know keeps no other from being sent, or from being given up', async (t) => {
  const room = await openPointRoom(t)
  const [odd, good] = [
    await room.datasets.create(ADMIN, { name: 'odd', host: 'a' }),
    await room.datasets.create(ADMIN, { name: 'good', host: 'a' }),
  ]
  for (const { jobId } of [odd, good]) await room.sent(jobId)
  const kind = JSON.stringify({ kind: 'of.tomorrow' })
  await room.db.query(`update job set spec = $2 where id = $1`, [odd.jobId, kind])
  await room.db.query(`update job set heard_at = now() - interval '1 hour'`)
  const store = createDispatchStore(room.sql)
  const ids = async () => (await store.unstarted({ afterMs: 1_000, limit: 10 })).map(({ jobId }) => jobId)
  t.deepEqual(await ids(), [good.jobId])
  await room.db.query(`update job set state = 'queued' where finished_at is null`)
  t.deepEqual(
    (await store.claim(10)).map(({ jobId }) => jobId),
    [good.jobId],
  )
  await room.db.query(
    `update job set state = 'running', heard_at = now() - interval '1 hour' where finished_at is null`,
  )
  // Another replica: it remembers nothing of either.
  const { changes } = await room.plane().changes.changeSilent({ silentMs: 60_000, limit: 10 }, expireJob)
  t.deepEqual(
    changes.map(({ job }) => job.id),
    [good.jobId],
  )
})

test('a host is told which of its points are no more', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const { id } = await room.point('x')
  const reception = await receptionOf(room)
  t.teardown(() => reception.stop())
  const ask = async (question: object) => {
    const reply = await room.nats.request(subjects.ask('a'), JSON.stringify({ v: WIRE_VERSION, ...question }), {
      ...{ timeout: 30_000, noMux: true, reply: `${inboxPrefix('a')}.${newId()}` },
    })
    return reply.json()
  }
  t.like(await ask({ points: [id, newId()] }), { known: [id] })
  t.like(await ask({ jobId: newId(), attempt: 1 }), { start: false })
})

test('a host that another replica does not hear is offline no longer than until its next beat', async (t) => {
  const room = await openPointRoom(t)
  const reception = await receptionOf(room)
  t.teardown(() => reception.stop())
  const stateOf = async (name: string) => (await room.hosts.find(name))?.state
  // By one that NATS has cut off: it hears nobody.
  await room.hosts.setState(['a', 'b'], 'offline')
  await reception.tick()
  t.is(await stateOf('a'), 'offline')
  const beat = { v: WIRE_VERSION, hash: 'a', free: [50], running: 0 }
  room.nats.publish(subjects.beat('a'), JSON.stringify(beat))
  await until('its beat was heard', async () => {
    await reception.tick()
    return (await stateOf('a')) === 'online'
  })
  t.is(await stateOf('b'), 'offline')
  const events = await room.db.query(`select type, body ->> 'host' as host from event where type like 'host.%'`)
  t.deepEqual(events, [{ type: 'host.online', host: 'a' }])
})

test('a replica that hears nobody refuses only who waits at itself', async (t) => {
  const room = await openPointRoom(t)
  const [own, other] = [
    await room.datasets.create(ADMIN, { name: 'own', host: 'a' }),
    await room.datasets.create(ADMIN, { name: 'other', host: 'a' }),
  ]
  await room.db.query(`update job set not_after = now() - interval '1 second' where finished_at is null`)
  let hears = false
  const sweep = createSweep({
    ...{ changes: room.changes, dispatch: room.dispatch, nats: room.nats, afterCommit: room.committed, awayMs: DAY_MS },
    hosts: { isOnline: () => false, deaf: () => undefined, hearsAnybody: () => hears },
    ends: { isAwaited: (jobId) => jobId === own.jobId },
    store: createDispatchStore(room.sql),
    ingest: { heardForMs: () => 0 },
  })
  const states = () => Promise.all([own, other].map(async ({ jobId }) => (await room.jobs.get(ADMIN, jobId)).state))
  await sweep.quick()
  t.deepEqual(await states(), ['cancelling', 'dispatched'])
  hears = true
  await sweep.quick()
  t.deepEqual(await states(), ['cancelling', 'cancelling'])
})
