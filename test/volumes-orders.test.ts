import test from 'ava'
import { pino } from 'pino'
import { failUnsent } from '../control-plane/core/job-change.ts'
import { lockVolumes } from '../control-plane/db/stores/volume-findings.ts'
import { startIngest } from '../control-plane/jobs/ingest.ts'
import type { FleetError } from '../shared/errors.ts'
import { WIRE_VERSION } from '../shared/wire/messages.ts'
import { subjects } from '../shared/wire/subjects.ts'
import { ADMIN, OPERATOR } from './harness/point-room.ts'
import { until } from './harness/until.ts'
import { GIB, INITIATOR, openVolumeRoom, type VolumeRoom, wwnOf } from './harness/volume-room.ts'

const PAGE = { limit: 100 }

const cleanUps: (() => unknown)[] = []
let room: VolumeRoom
test.before(async () => {
  room = await openVolumeRoom({ teardown: (act) => void cleanUps.push(act) })
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})
/** As if nobody had ever made any: Postgres and NATS take longer to start than all these tests together. */
test.beforeEach(() => room.forget())

test.serial('a volume is ordered for the host of its pool, and what it came to is kept', async (t) => {
  const { jobId, volume } = await room.volumes.create(OPERATOR, {
    ...{ name: 'img/base', sizeBytes: GIB, pool: 'a-pool', createParent: true },
  })
  t.like(volume, { name: 'img/base', pool: 'a-pool', host: 'a', state: 'creating', guid: null, origin: null })
  const { spec } = await room.sent(jobId)
  t.deepEqual(spec, {
    kind: 'volume.create',
    place: { pool: 'a-pool', volume: 'img/base' },
    sizeBytes: GIB,
    createParent: true,
    volumeId: volume.id,
  })
  await room.succeed(jobId, { sizeBytes: GIB, device: '/a-pool/img/base', guid: 'g1', cow: true })
  t.like(await room.volumes.get(OPERATOR, 'a-pool/img/base'), {
    state: 'available',
    guid: 'g1',
    device: null,
    sizeBytes: GIB,
  })
  t.like(await room.volumes.get(ADMIN, volume.id), { device: '/a-pool/img/base' })

  const snapshot = await room.volumes.snapshot(OPERATOR, 'a-pool/img/base', 's1')
  t.like(snapshot.snapshot, { path: 'a-pool/img/base@s1', state: 'creating', volumeId: volume.id })
  await t.throwsAsync(room.volumes.snapshot(OPERATOR, 'a-pool/img/base', 's1'), { message: /exists already/ })
  await room.succeed(snapshot.jobId, { guid: 'x', sizeBytes: GIB })
  const clone = await room.volumes.clone(OPERATOR, { source: 'a-pool/img/base@s1', name: 'c1' })
  t.like(clone.volume, { name: 'c1', state: 'creating', origin: 'a-pool/img/base@s1', sizeBytes: GIB })
  t.like((await room.sent(clone.jobId)).spec, {
    source: { pool: 'a-pool', volume: 'img/base', snapshot: 's1' },
    place: { pool: 'a-pool', volume: 'c1' },
  })
  await room.succeed(clone.jobId, room.made({ pool: 'a-pool', volume: 'c1' }))

  const larger = await room.volumes.resize(OPERATOR, 'a-pool/c1', 2 * GIB)
  await room.succeed(larger.jobId, { ...room.made({ pool: 'a-pool', volume: 'c1' }), sizeBytes: 2 * GIB })
  t.like(await room.volumes.get(OPERATOR, 'a-pool/c1'), { sizeBytes: 2 * GIB, version: 3 })
  await t.throwsAsync(room.volumes.resize(OPERATOR, 'a-pool/c1', GIB), { message: /never becomes smaller/ })
  await t.throwsAsync(
    room.volumes.resize(OPERATOR, 'a-pool/c1', 3 * GIB, ({ version }) => version === 1),
    { message: /has changed/ },
  )
  const pages = await room.volumes.list(OPERATOR, { pool: 'a-pool' }, { limit: 1 })
  const rest = await room.volumes.list(OPERATOR, {}, { limit: 5, cursor: pages.nextCursor ?? '' })
  t.deepEqual(
    [...pages.items, ...rest.items].map(({ name }) => name),
    ['c1', 'img/base'],
  )
  t.deepEqual(
    (await room.volumes.snapshots(OPERATOR, 'a-pool/img/base', PAGE)).items.map(({ name }) => name),
    ['s1'],
  )
  const [{ object_kind: kind, object_id: id }] = await room.db.query('select * from audit where job_id = $1', [jobId])
  t.deepEqual([kind, id], ['volume', volume.id])
})

test.serial('what others rest on is named, and stays; a deletion that fails leaves it as it was', async (t) => {
  await room.volume('base')
  const source = await room.snapshot('a-pool/base', 's')
  const clone = await room.volumes.clone(ADMIN, { source, name: 'c' })
  const asks = { volume: 'a-pool/base', wwn: wwnOf('base'), initiators: [INITIATOR] }
  const { jobIds } = await room.exports.create(ADMIN, [asks])
  const refused = await t.throwsAsync<FleetError>(room.volumes.delete(ADMIN, 'a-pool/base'))
  t.deepEqual(refused?.blockers, [`export ${wwnOf('base')}`, 'snapshot a-pool/base@s', 'volume a-pool/c'])
  const kept = await t.throwsAsync<FleetError>(room.volumes.deleteSnapshot(ADMIN, 'a-pool/base', 's'))
  t.deepEqual([kept?.code, kept?.blockers], ['conflict', ['volume a-pool/c']])

  await room.succeed(clone.jobId, room.made({ pool: 'a-pool', volume: 'c' }))
  await room.exported(jobIds[0] ?? '')
  const going = await room.volumes.delete(ADMIN, 'a-pool/c')
  t.like(await room.volumes.get(ADMIN, 'a-pool/c'), { state: 'deleting' })
  await t.throwsAsync(room.volumes.delete(ADMIN, 'a-pool/c'), { message: /being deleted/ })
  await room.fail(going.jobId, { code: 'conflict', message: 'in use' })
  t.like(await room.volumes.get(ADMIN, 'a-pool/c'), { state: 'available' })
  const again = await room.jobs.retry(ADMIN, going.jobId)
  t.like(again, { kind: 'volume.delete', retryOf: going.jobId })
  await room.succeed(again.id)
  const snapshot = await room.volumes.deleteSnapshot(ADMIN, 'a-pool/base', 's')
  await room.succeed(snapshot.jobId)
  t.deepEqual(await room.rows('volume_snapshot'), [])
  t.deepEqual(await room.rows('volume'), ['a-pool/base available'])
})

test.serial('what is made under the name of one that goes waits for it', async (t) => {
  await room.volume('x')
  const going = await room.volumes.delete(OPERATOR, 'a-pool/x')
  const next = await room.volumes.create(OPERATOR, { name: 'x', sizeBytes: GIB, pool: 'a-pool' })
  t.is(await room.stateOf(next.jobId), 'queued')
  t.like(await room.volumes.get(OPERATOR, 'a-pool/x'), { id: next.volume.id, state: 'creating' })
  t.deepEqual(await room.rows('volume'), ['a-pool/x deleting', 'a-pool/x creating'])
  await t.throwsAsync(room.volumes.create(OPERATOR, { name: 'x', sizeBytes: GIB, pool: 'a-pool' }), {
    message: /exists already/,
  })
  const other = room.tenant(await room.group('volumes-1'))
  await t.throwsAsync(room.volumes.create(other, { name: 'x', sizeBytes: GIB, pool: 'a-pool' }), {
    message: /exists already/,
  })
  await room.succeed(going.jobId)
  await room.sent(next.jobId)
  await room.fail(next.jobId, { code: 'no_space', message: 'full' })
  t.deepEqual(await room.rows('volume'), [])

  await room.volume('x')
  const failing = await room.volumes.delete(OPERATOR, 'a-pool/x')
  const late = await room.volumes.create(OPERATOR, { name: 'x', sizeBytes: GIB, pool: 'a-pool' })
  await room.fail(failing.jobId, { code: 'busy', message: 'held' })
  t.deepEqual(await room.rows('volume'), ['a-pool/x available'])
  await room.sent(late.jobId)
  await room.fail(late.jobId, { code: 'exists', message: 'it is there' })
  t.deepEqual(await room.rows('volume'), ['a-pool/x available'])
})

test.serial("volumes are their group's; what has no row is the fleet's and the default group's", async (t) => {
  const tenant = room.tenant(await room.group('volumes-2'))
  await room.volume('own', tenant)
  await room.volume('base', OPERATOR)
  const source = await room.snapshot('a-pool/base', 's', OPERATOR)
  await t.throwsAsync(room.volumes.get(OPERATOR, 'a-pool/own'), { message: /no volume/ })
  await t.throwsAsync(room.volumes.delete(OPERATOR, 'a-pool/own'), { message: /no volume/ })
  await t.throwsAsync(room.volumes.clone(tenant, { source, name: 'c' }), { message: /no snapshot/ })
  await t.throwsAsync(room.volumes.clone(tenant, { source: 'a-pool/golden@v1', name: 'c' }), { message: /no snapshot/ })
  await t.throwsAsync(room.volumes.standing(tenant, 'a-pool', PAGE), { message: /whole fleet/ })
  const adopted = await room.volumes.clone(OPERATOR, { source: 'a-pool/golden@v1', name: 'c' })
  t.like(adopted.volume, { origin: 'a-pool/golden@v1' })
  // An admin of the fleet works on it for the group that has it.
  const snapshot = await room.volumes.snapshot(ADMIN, 'a-pool/own', 's')
  t.is(snapshot.snapshot.groupId, tenant.groupId)
  t.is((await room.volumes.list(tenant, {}, PAGE)).items.length, 1)
  t.is((await room.volumes.list(ADMIN, {}, PAGE)).items.length, 3)
  await t.throwsAsync(room.volumes.create({ ...tenant, role: 'viewer' }, { name: 'v', sizeBytes: GIB }), {
    message: /operator/,
  })
})

test.serial(
  'bad names and sizes, unknown pools and hosts that are away are told before anything is written',
  async (t) => {
    const create = (given: object) =>
      room.volumes.create(ADMIN, { name: 'x', sizeBytes: GIB, pool: 'a-pool', ...given })
    for (const given of [
      { name: '../x' },
      { name: 'a//b' },
      { name: '' },
      { sizeBytes: 1 },
      { sizeBytes: 1.5 * GIB + 0.5 },
    ]) {
      await t.throwsAsync(create(given), { code: 'invalid' }, JSON.stringify(given))
    }
    await t.throwsAsync(create({ pool: 'nobodys' }), { code: 'not_found' })
    await t.throwsAsync(room.volumes.clone(ADMIN, { source: 'a-pool/base', name: 'c' }), { code: 'invalid' })
    await t.throwsAsync(room.volumes.get(ADMIN, 'x\0'), { code: 'not_found' })
    await t.throwsAsync(room.volumes.list(ADMIN, {}, { limit: 1, cursor: 'x' }), { code: 'invalid' })
    await room.volume('there')
    room.registry.deaf('a')
    await t.throwsAsync(create({}), { code: 'unavailable' })
    await t.throwsAsync(room.volumes.delete(ADMIN, 'a-pool/there'), { code: 'unavailable' })
    await t.throwsAsync(room.volumes.standing(ADMIN, 'a-pool', PAGE), { code: 'unavailable' })
    t.deepEqual(await room.rows('volume'), ['a-pool/there available'])
  },
)

test.serial('a pool tells what stands in it, whoever made it', async (t) => {
  const item = { path: 'golden', sizeBytes: GIB, guid: 'g', origin: 'img/base@s', snapshots: ['v1'], isCut: false }
  const answering = await room.answers('a', 'volumes', ({ body }) => {
    t.like(body, { pool: 'a-pool', limit: 2 })
    return { ok: true, body: { items: [item], next: 'golden' } }
  })
  t.deepEqual(await room.volumes.standing(ADMIN, 'a-pool', { limit: 2 }), {
    items: [{ path: 'a-pool/golden', sizeBytes: GIB, snapshots: ['v1'], origin: 'a-pool/img/base@s' }],
    nextCursor: 'golden',
  })
  answering.unsubscribe()
})

test.serial('a removed host takes its volumes and exports with it, and a group that has some stays', async (t) => {
  const { id, documentId } = await room.groups().create(ADMIN, { name: 'volumes-3', members: [], tags: {} })
  const tenant = room.tenant(id)
  await room.volume('mine', tenant, 'b-pool')
  const chap = { user: 'u', secret: 'a secret'.replace(' ', '-') }
  const wanted = { volume: 'b-pool/mine', wwn: wwnOf('mine'), initiators: [INITIATOR], chap }
  const { jobIds } = await room.exports.create(tenant, [wanted])
  await room.exported(jobIds[0] ?? '')
  t.is(await room.secrets(), 1)
  const error = await t.throwsAsync<FleetError>(room.groups().delete(ADMIN, documentId))
  t.deepEqual(error?.blockers, ['volume b-pool/mine', `export ${wwnOf('mine')}`])
  const host = await room.hosts.find('b')
  if (host === undefined) throw new Error('host b is there')
  const marked = await room.removal().mark(ADMIN, host, { force: false })
  t.deepEqual(marked.blockers, [`export ${wwnOf('mine')}`, 'volume b-pool/mine'])
  await room.removal().mark(ADMIN, host, { force: true })
  await room.removal().clear()
  t.deepEqual([await room.rows('volume'), await room.rows('export'), await room.secrets()], [[], [], 0])
  await room.groups().delete(ADMIN, documentId)
})

test.serial('what is still being made gives its group no right to what stands in its place', async (t) => {
  const tenant = room.tenant(await room.group('volumes-3'))
  // Nobody's row, on a host of the fleet: the order fails, but not before others could wait behind it.
  const { jobId } = await room.volumes.create(tenant, { name: 'golden', sizeBytes: GIB, pool: 'a-pool' })
  const golden = { volume: 'a-pool/golden', wwn: wwnOf('golden') }
  const exporting = await room.exports.create(tenant, [{ ...golden, initiators: [INITIATOR] }])
  const removing = await room.exports.remove(tenant, [{ ...golden, deleteVolume: true }])
  t.deepEqual([...exporting.jobIds, ...removing.jobIds], [])
  for (const { batchId } of [exporting, removing]) {
    const { errors } = await room.exports.batch(tenant, batchId)
    t.like(errors, [{ code: 'conflict', message: "in use: 'a-pool/golden' is still being made" }])
  }
  await t.throwsAsync(room.volumes.clone(tenant, { source: 'a-pool/golden@v1', name: 'c' }), { code: 'not_found' })
  await room.fail(jobId, { code: 'exists', message: 'it is there already' })
  t.deepEqual(await room.rows('volume'), [])

  // What the fleet lends a group by an export goes with none of its removals.
  const lent = { ...golden, initiators: [INITIATOR] }
  const lending = await room.exports.create({ ...ADMIN, groupId: tenant.groupId }, [lent])
  await room.exported(lending.jobIds[0] ?? '')
  const greedy = await room.exports.remove(tenant, [{ ...golden, deleteVolume: true }])
  t.deepEqual(greedy.jobIds, [])
  t.like((await room.exports.batch(tenant, greedy.batchId)).errors, [{ code: 'not_found' }])
  t.is((await room.exports.remove(tenant, [golden])).jobIds.length, 1)
})

test.serial('where exports of another group lost their volume none is made for them', async (t) => {
  const tenant = room.tenant(await room.group('volumes-4'))
  const lost = { volume: 'a-pool/lost', wwn: wwnOf('lost'), initiators: [INITIATOR] }
  const { jobIds } = await room.exports.create(OPERATOR, [lost])
  await room.exported(jobIds[0] ?? '')
  await room.volume('base', tenant)
  const source = await room.snapshot('a-pool/base', 's', tenant)
  const create = (caller = tenant) => room.volumes.create(caller, { name: 'lost', sizeBytes: GIB, pool: 'a-pool' })
  await t.throwsAsync(create(), { code: 'exists' })
  await t.throwsAsync(room.volumes.clone(tenant, { source, name: 'lost' }), { code: 'exists' })
  const { batchId } = await room.exports.create(tenant, [{ ...lost, source, wwn: wwnOf('other') }])
  t.like((await room.exports.batch(tenant, batchId)).errors, [
    { code: 'exists', message: "in use: 'a-pool/lost' is somebody else's" },
  ])
  await t.notThrowsAsync(create(OPERATOR))
})

test.serial('a deletion of a snapshot that fails leaves it to whoever waited to take the next one', async (t) => {
  await room.volume('x')
  await room.snapshot('a-pool/x', 's')
  const going = await room.volumes.deleteSnapshot(ADMIN, 'a-pool/x', 's')
  const next = await room.volumes.snapshot(ADMIN, 'a-pool/x', 's')
  t.deepEqual(await room.rows('volume_snapshot'), ['a-pool/x@s deleting', 'a-pool/x@s creating'])
  await room.fail(going.jobId, { code: 'busy', message: 'held' })
  t.is(await room.stateOf(going.jobId), 'failed')
  t.deepEqual(await room.rows('volume_snapshot'), ['a-pool/x@s available'])
  await room.sent(next.jobId)
  await room.succeed(next.jobId, { guid: 'next', sizeBytes: 2 * GIB })
  const { items } = await room.volumes.snapshots(ADMIN, 'a-pool/x', PAGE)
  t.like(items, [{ state: 'available', sizeBytes: 2 * GIB }])
})

test.serial('what nobody has made is not there because its removal was given up, or failed', async (t) => {
  const wanted = { source: 'a-pool/golden@v1', volume: 'a-pool/x', wwn: wwnOf('x'), initiators: [INITIATOR] }
  const ask = async () => {
    const making = await room.exports.create(OPERATOR, [wanted])
    const removing = await room.exports.remove(OPERATOR, [{ ...wanted, deleteVolume: true }])
    return [making.jobIds[0] ?? '', removing.jobIds[0] ?? ''] as const
  }
  const rows = async () => [...(await room.rows('volume')), ...(await room.rows('export'))]
  const [making, cancelled] = await ask()
  await room.jobs.cancel(OPERATOR, cancelled)
  t.deepEqual(await room.rows('volume'), ['a-pool/x creating'])
  await room.fail(making, { code: 'not_found', message: 'there is no such snapshot' })
  t.deepEqual(await rows(), [])

  const [failing, waiting] = await ask()
  await room.fail(failing, { code: 'exists', message: 'something else is there' })
  t.deepEqual(await rows(), [])
  await room.sent(waiting)
  await room.fail(waiting, { code: 'conflict', message: 'it has snapshots' })
  t.deepEqual(await rows(), [])

  const [good, given] = await ask()
  await room.jobs.cancel(OPERATOR, given)
  await room.exported(good)
  t.deepEqual(await rows(), ['a-pool/x available', `${wwnOf('x')} available`])
  const again = await room.exports.create(OPERATOR, [wanted])
  const removal = await room.exports.remove(OPERATOR, [{ ...wanted, deleteVolume: true }])
  await room.fail(again.jobIds[0] ?? '', { code: 'busy', message: 'held' })
  await room.sent(removal.jobIds[0] ?? '')
  await room.fail(removal.jobIds[0] ?? '', { code: 'busy', message: 'held' })
  t.deepEqual(await rows(), ['a-pool/x available', `${wwnOf('x')} available`])
})

test.serial('whoever ends jobs of volumes holds none of them while it waits for its turn', async (t) => {
  const { jobId } = await room.volumes.create(ADMIN, { name: 'x', sizeBytes: GIB, pool: 'a-pool' })
  const turn = Promise.withResolvers<void>()
  const taken = Promise.withResolvers<void>()
  const other = room.sql.transaction(async (tx) => {
    await lockVolumes(tx)
    taken.resolve()
    await turn.promise
  })
  await taken.promise
  const lost = room.plane().changes.change([jobId], (job) => failUnsent(job, 1, { code: 'refused', message: 'x' }))
  const asleep = `select count(*)::int as n from pg_stat_activity where wait_event = 'advisory' and datname = current_database()`
  await until('it waits', async () => (await room.db.query(asleep))[0].n >= 1)
  await t.notThrowsAsync(room.db.query('select id from job where id = $1 for update nowait', [jobId]))
  turn.resolve()
  await Promise.all([other, lost])
  t.deepEqual(await room.rows('volume'), [])
})

test.serial('a removal that is tried again removes nothing that has the name by now', async (t) => {
  const path = 'a-pool/x'
  await room.volume('x')
  const { jobId } = await room.volumes.delete(ADMIN, path)
  await room.fail(jobId, { code: 'busy', message: 'held' })
  await room.succeed((await room.jobs.retry(ADMIN, jobId)).id)
  await room.volume('x')
  await t.throwsAsync(room.jobs.retry(ADMIN, jobId), { code: 'stale' })

  const exported = { volume: path, wwn: wwnOf('x') }
  const make = async () => {
    const { jobIds } = await room.exports.create(ADMIN, [{ ...exported, initiators: [INITIATOR] }])
    await room.exported(jobIds[0] ?? '')
  }
  await make()
  const [failing = ''] = (await room.exports.remove(ADMIN, [exported])).jobIds
  await room.fail(failing, { code: 'busy', message: 'held' })
  await room.unexported((await room.jobs.retry(ADMIN, failing)).id)
  await make()
  await t.throwsAsync(room.jobs.retry(ADMIN, failing), { code: 'conflict' })
  t.deepEqual(await room.rows('export'), [`${wwnOf('x')} available`])
})

test.serial('a clone of a snapshot that is yet to be taken waits for it, and no other clone does', async (t) => {
  await room.volume('x')
  const old = await room.snapshot('a-pool/x', 'old')
  const { jobId, snapshot } = await room.volumes.snapshot(ADMIN, 'a-pool/x', 's')
  const clone = await room.volumes.clone(ADMIN, { source: old, name: 'c0' })
  t.is(await room.stateOf(clone.jobId), 'dispatched')
  const waiting = await room.volumes.clone(ADMIN, { source: snapshot.path, name: 'c1' })
  const asked = { source: snapshot.path, volume: 'a-pool/c2', wwn: wwnOf('c2'), initiators: [INITIATOR] }
  const exporting = await room.exports.create(ADMIN, [asked])
  t.is(await room.stateOf(waiting.jobId), 'queued')
  t.is(await room.stateOf(exporting.jobIds[0] ?? ''), 'queued')
  await room.succeed(clone.jobId, room.made({ pool: 'a-pool', volume: 'c0' }))
  await room.succeed(jobId, { guid: 's', sizeBytes: GIB })
  await room.sent(waiting.jobId)
})

test.serial('an order that meets another on its lane in that very moment waits behind it', async (t) => {
  const { id } = await room.volume('x')
  const [{ lane }] = await room.db.query('select lane from volume where id = $1', [id])
  const [job] = await room.db.query('select id, ordinal from job order by ordinal limit 1')
  const client = room.db.createQueryRunner()
  try {
    await client.startTransaction()
    // As orders do that take no turns with those of volumes: a point that is made of one.
    const hold =
      'insert into lane_hold (lane, job_id, job_ordinal, exclusive, granted) values ($1, $2, $3, false, true)'
    await client.query(hold, [lane, job.id, job.ordinal])
    const going = room.volumes.delete(ADMIN, 'a-pool/x')
    const blocked = `select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
    await until('it waits', async () => (await room.db.query(blocked))[0].n > 0)
    await client.commitTransaction()
    t.is(await room.stateOf((await going).jobId), 'queued')
  } finally {
    await client.release()
  }
})

test.serial('no point is ordered of a volume that goes in that very moment', async (t) => {
  const { id } = await room.volume('x')
  const client = room.db.createQueryRunner()
  try {
    await client.startTransaction()
    await client.query(`update volume set state = 'deleting' where id = $1`, [id])
    const making = room.points.create(ADMIN, { source: { volume: 'a-pool/x' } })
    const blocked = `select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
    await Promise.race([making, until('it waits', async () => (await room.db.query(blocked))[0].n > 0)])
    await client.commitTransaction()
    await t.throwsAsync(making, { code: 'conflict' })
  } finally {
    await client.release()
  }
})

test.serial("a host's word that cannot be written keeps nobody else's from being", async (t) => {
  const lines: { readonly event?: string; readonly messages?: number; readonly jobs?: readonly string[] }[] = []
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  await room.db.query(`alter table volume add constraint no_poison check (guid <> 'poison') not valid`)
  const ingest = startIngest({
    ...{ nats: room.nats, store: room.changes, logger, afterCommit: room.committed, prepare: async () => undefined },
    ...{ onHeard: () => undefined, admits: () => true, onForged: () => undefined, onUnknown: () => undefined },
  })
  try {
    const jobs = []
    for (const name of ['poison', 'v1', 'v2', 'nul\0']) {
      const { jobId } = await room.volumes.create(ADMIN, { name: name.slice(0, 3), sizeBytes: GIB, pool: 'a-pool' })
      jobs.push({ jobId, guid: name })
    }
    const reports = jobs.map(({ jobId, guid }) => {
      const result = { sizeBytes: GIB, device: '/x', guid, cow: true }
      return { jobId, attempt: 1, delivery: 1, events: [{ type: 'succeed', seq: 1, at: 0, phases: [], result }] }
    })
    for (const report of reports) {
      room.nats.publish(subjects.event('a'), JSON.stringify({ v: WIRE_VERSION, reports: [report] }))
    }
    await until('all that can be', async () => (await room.rows('volume')).join() === OTHERS)
    t.is((await room.volumes.get(ADMIN, 'a-pool/nul')).guid, 'nul\ufffd')
    const refused = await until('the refusal', () => lines.find(({ event }) => event === 'ingest.report_refused'))
    t.deepEqual(refused.jobs, [jobs[0]?.jobId])
  } finally {
    await ingest.stop()
    await room.db.query('alter table volume drop constraint no_poison')
  }
})
const OTHERS = 'a-pool/nul available,a-pool/poi creating,a-pool/v1 available,a-pool/v2 available'

test.serial('the same holds of snapshots and of datasets', async (t) => {
  const path = 'a-pool/x'
  await room.volume('x')
  await room.snapshot(path, 's')
  const removal = await room.volumes.deleteSnapshot(ADMIN, path, 's')
  await room.fail(removal.jobId, { code: 'busy', message: 'held' })
  await room.succeed((await room.jobs.retry(ADMIN, removal.jobId)).id)
  await room.snapshot(path, 's')
  await t.throwsAsync(room.jobs.retry(ADMIN, removal.jobId), { code: 'stale' })
  t.deepEqual(await room.rows('volume_snapshot'), [`${path}@s available`])

  await room.dataset('again')
  const deletion = await room.datasets.delete(ADMIN, { name: 'again' })
  await room.fail(deletion.jobId, { code: 'busy', message: 'held' })
  await room.succeed((await room.jobs.retry(ADMIN, deletion.jobId)).id)
  await t.throwsAsync(room.jobs.retry(ADMIN, deletion.jobId), { code: 'not_found' })
  await room.dataset('again')
  await t.throwsAsync(room.jobs.retry(ADMIN, deletion.jobId), { code: 'stale' })
  t.is((await room.datasets.get(ADMIN, 'again')).state, 'available')
})

test.serial("a volume that has the name by now grows by nobody else's order", async (t) => {
  const path = 'a-pool/x'
  await room.volume('x')
  const { jobId } = await room.volumes.resize(ADMIN, path, 2 * GIB)
  await room.fail(jobId, { code: 'no_space', message: 'full' })
  await room.succeed((await room.volumes.delete(ADMIN, path)).jobId)
  await room.volume('x')
  await t.throwsAsync(room.jobs.retry(ADMIN, jobId), { code: 'stale' })
})
