import test, { type ExecutionContext } from 'ava'
import type { Caller } from '../control-plane/core/caller.ts'
import { createIdempotencyStore } from '../control-plane/db/stores/idempotency-store.ts'
import type { FleetError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { type CaptureRoom, openCaptureRoom } from './harness/capture-room.ts'
import { ADMIN, MADE, OPERATOR } from './harness/point-room.ts'

const PAGE = { limit: 100 }

const cleanUps: (() => unknown)[] = []
let room: CaptureRoom
test.before(async () => {
  room = await openCaptureRoom({ teardown: (act) => void cleanUps.push(act) })
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})
/** As if nobody had ever made any: Postgres and NATS take longer to start than all these tests together. */
test.beforeEach(() => room.forgetCaptures())

const backups = () => room.captures.instanceBackups
const get = (id: string) => backups().get(OPERATOR, id)
const HELD = { kind: 'pause', ms: 20, intact: true } as const

/** Jobs that make or delete points and go on, oldest first. */
async function open(kind: 'point.create' | 'point.delete') {
  const { items } = await room.jobs.list(ADMIN, { kind, state: ['queued', 'dispatched'] }, PAGE)
  return items.toReversed()
}

/** What hosts say to all that is ordered of points. */
async function made(root: Partial<typeof MADE> = { held: HELD }): Promise<void> {
  for (const { id, spec } of await open('point.create')) {
    const isRoot = spec.kind === 'point.create' && spec.source.kind === 'instance'
    await room.succeed(id, { ...MADE, ...(isRoot ? root : {}) })
  }
}

/** All that is due, and what hosts say to the deletions that came of it. @returns the series of points that went, in their order. */
async function settle(t: ExecutionContext, rounds = 20, at = 'now()'): Promise<string[]> {
  const gone: string[] = []
  for (let n = 0; n < rounds; n += 1) {
    await room.db.query(`update instance_backup set look_at = ${at} where look_at is not null`)
    await room.captures.tick.run()
    await room.captures.volumeBackupTick.run()
    for (const { id, spec } of await open('point.delete')) {
      await room.succeed(id)
      if ('series' in spec) gone.push(spec.series.split('@')[0] ?? '')
    }
    if ((await backups().list(OPERATOR, {}, PAGE)).items.length === 0) return gone
  }
  t.fail('it does not end')
  return gone
}

test.serial('a backup of a container is a series of its own points, and is what its newest one is', async (t) => {
  const instance = await room.instance('web', { '/': null })
  const backup = await backups().create(OPERATOR, { name: 'nightly', instance: 'web', incremental: true })
  t.like(backup, { name: 'nightly', instanceId: instance, status: 'creating', isIncremental: true, consistency: null })
  t.like(backup.instance, { type: 'lxc', name: 'web', host: 'a' })
  const [job] = await open('point.create')
  const spec = job?.spec.kind === 'point.create' ? job.spec : undefined
  t.like(spec, { source: { kind: 'instance', place: { type: 'lxc', instance: 'web' }, hold: 'pause' } })
  t.is(spec?.series, `instance-backup@${backup.id}`)
  await t.throwsAsync(backups().update(OPERATOR, backup.id), { message: /still being made/ })
  await t.throwsAsync(backups().delete(OPERATOR, backup.id), { message: /still being made/ })
  await made()
  const first = await get(backup.id)
  t.like(first, { status: 'available', consistency: 'frozen', failReason: null, progressPercent: null })
  t.like(first.parts, [{ kind: 'root', sourceId: instance, sizeBytes: MADE.sourceBytes, status: 'available' }])

  await t.throwsAsync(
    backups().update(OPERATOR, backup.id, ({ version }) => version === 1),
    { message: /has changed/ },
  )
  await backups().update(OPERATOR, backup.id)
  const [next] = await open('point.create')
  t.is(next?.spec.kind === 'point.create' && next.spec.bases.length, 1)
  t.like(await get(backup.id), { status: 'creating' })
  await room.fail(next?.id ?? '', { code: 'no_space', message: 'the target is full' })
  t.like(await get(backup.id), { status: 'error', failReason: 'the target is full' })
  // It is tried again, and then all is well.
  await backups().update(OPERATOR, backup.id)
  await made({ full: false, held: { ...HELD, intact: false } })
  t.like(await get(backup.id), { status: 'available', consistency: 'crash', failReason: null })
  t.true((await get(backup.id)).version > first.version)

  await backups().delete(OPERATOR, backup.id)
  t.like(await get(backup.id), { status: 'deleting' })
  // As if the clock had been ahead.
  const gone = await settle(t, 20, `now() + interval '1 year'`)
  t.deepEqual(gone, ['instance-backup', 'instance-backup', 'instance-backup'])
  await t.throwsAsync(get(backup.id), { message: /no backup/ })
  t.deepEqual(await room.db.query('select id from point_series'), [])
})

/** All that is due. */
async function tick(times = 1): Promise<void> {
  for (let n = 0; n < times; n += 1) {
    await room.db.query('update instance_backup set look_at = now() where look_at is not null')
    await room.captures.tick.run()
  }
}

const snapshots = async () => (await room.captures.instanceSnapshots.list(OPERATOR, {}, PAGE)).items

/** The snapshot that its parts are read from, as it goes. */
async function ended(): Promise<void> {
  await tick(2)
  for (const { id } of (
    await room.jobs.list(ADMIN, { kind: 'instance.discard', state: ['queued', 'dispatched'] }, PAGE)
  ).items) {
    const { spec } = await room.jobs.get(ADMIN, id)
    await room.succeed(id, { removed: spec.kind === 'instance.discard' ? spec.parts.length : 0, error: null })
  }
  await tick()
}

test.serial('what is attached is backed up with it from one snapshot of all, and goes before it does', async (t) => {
  await room.dataset('web')
  const instance = await room.instance('web', { '/': 'web' })
  const disk = await room.volume('disk', OPERATOR)
  await room.attach(disk.id, instance)
  const { id } = await backups().create(OPERATOR, { name: 'nightly', instance, incremental: true })
  t.like(await get(id), { status: 'creating' })
  const [snapshot] = await snapshots()
  await tick()
  t.deepEqual(await open('point.create'), [])
  await room.take(await room.jobOf(snapshot?.id ?? ''))
  await tick(2)

  const orders = (await open('point.create')).flatMap(({ spec }) => (spec.kind === 'point.create' ? [spec.source] : []))
  const [root, volume] = orders
  const [dataset, image] = (await room.captures.instanceSnapshots.get(OPERATOR, snapshot?.id ?? '')).parts
  t.deepEqual(root?.kind === 'instance' && root.snapshots, [{ dataset: dataset?.sourceId, snapshot: dataset?.id }])
  t.deepEqual(volume?.kind === 'volume' && [volume.place.volume, `a-pool/disk@${volume.snapshot}`], [
    'disk',
    (await room.volumes.snapshots(OPERATOR, 'a-pool/disk', PAGE)).items.find((one) => one.id === image?.id)?.path,
  ])
  const asked = await get(id)
  t.deepEqual(
    asked.parts.map(({ kind, sourceId, status }) => [kind, sourceId, status]),
    [
      ['root', instance, 'creating'],
      ['volume', disk.id, 'creating'],
    ],
  )
  await tick()
  t.is((await snapshots()).length, 1)
  await made({})
  t.like(await get(id), { status: 'available', consistency: 'frozen', failReason: null })
  await ended()
  t.deepEqual(await snapshots(), [])
  t.deepEqual(await room.rows('volume_snapshot'), [])

  const part = asked.parts[1]?.id ?? ''
  t.like(await room.captures.volumeBackups.get(OPERATOR, part), { instanceBackupId: id, name: 'nightly' })
  const held = await t.throwsAsync<FleetError>(room.captures.volumeBackups.delete(OPERATOR, part))
  t.deepEqual([held?.code, held?.blockers], ['conflict', [`instance backup ${id}`]])

  // What becomes of a part becomes of the whole, also when no job has ended.
  const { version } = await get(id)
  await room.captures.volumeBackups.restore(OPERATOR, part, { volume: 'a-pool/again' })
  const restoring = await get(id)
  t.is(restoring.status, 'restoring')
  t.true(restoring.version > version)
  const { items } = await room.jobs.list(ADMIN, { kind: 'volume.restore' }, PAGE)
  await room.fail(items[0]?.id ?? '', { code: 'no_space', message: 'full' })
  t.like(await get(id), { status: 'available' })

  // One that came later is backed up from the next point on. No snapshot can be taken: each part is of its own moment.
  await room.attach((await room.volume('late', OPERATOR)).id, instance)
  await backups().update(OPERATOR, id)
  await t.throwsAsync(backups().update(OPERATOR, id), { message: /still being made/ })
  await room.fail(await room.jobOf((await snapshots())[0]?.id ?? ''), { code: 'no_space', message: 'full' })
  await tick(2)
  t.is((await open('point.create')).length, 3)
  await made()
  t.like(await get(id), { status: 'available', consistency: 'crash', failReason: null })
  await ended()
  t.deepEqual(await snapshots(), [])

  await backups().delete(OPERATOR, id)
  const gone = await settle(t)
  t.deepEqual(gone.slice(0, 3), ['volume-backup', 'volume-backup', 'volume-backup'])
  t.deepEqual(gone.slice(3), ['instance-backup', 'instance-backup'])
  t.deepEqual((await room.captures.volumeBackups.list(OPERATOR, {}, PAGE)).items, [])
})

test.serial(
  'what has no instant in common is backed up part by part; a volume that cannot be is told of',
  async (t) => {
    const instance = await room.instance('web', { '/': null })
    await room.attach((await room.volume('disk', OPERATOR)).id, instance)
    const other = room.tenant(await room.group('captures-2'))
    await room.attach((await room.volume('theirs', other)).id, instance)
    const { id } = await backups().create(OPERATOR, { name: 'nightly', instance, incremental: true })
    t.is((await open('point.create')).length, 2)
    await made()
    const now = await get(id)
    t.is(now.parts.length, 2)
    t.like(now, { status: 'error', consistency: 'crash' })
    t.regex(now.failReason ?? '', /no backup of 'a volume of another group' could be ordered/)

    // A host that is away for good is not waited for for ever.
    await room.db.query(
      'delete from volume_attachment where volume_id in (select id from volume where group_id = $1)',
      [other.groupId],
    )
    await backups().update(OPERATOR, id)
    await room.take(await room.jobOf((await snapshots())[0]?.id ?? ''))
    await room.db.query(`update instance set gone_at = now() where id = $1`, [instance])
    await tick()
    const failed = await get(id)
    t.like(failed, { status: 'error' })
    t.regex(failed.failReason ?? '', /on its host no more/)
    await ended()
    t.deepEqual(await snapshots(), [])
  },
)

test.serial('of two updates at once one is made; a repeat under a key is the first', async (t) => {
  await room.dataset('web')
  const instance = await room.instance('web', { '/': 'web' })
  await room.attach((await room.volume('disk', OPERATOR)).id, instance)
  const keys = createIdempotencyStore(room.sql)
  async function keyed<Made>(act: (caller: Caller) => Promise<Made>, mark: string): Promise<Made> {
    const [hash, holder] = [mark.padEnd(64, '0'), newId()]
    let n = 0
    await keys.hold({ hash, fingerprints: ['f'.repeat(64)] }, holder)
    const made = await act({ ...OPERATOR, key: { hash, holder, next: () => n++ } })
    await keys.release({ hash, holder })
    return made
  }
  const create = (caller: Caller) => backups().create(caller, { name: 'once', instance, incremental: true })
  const { id } = await keyed(create, 'a')
  t.is((await keyed(create, 'a')).id, id)
  t.is((await snapshots()).length, 1)
  await room.take(await room.jobOf((await snapshots())[0]?.id ?? ''))
  await tick(2)
  await made({})
  await ended()

  const two = await Promise.allSettled([backups().update(OPERATOR, id), backups().update(OPERATOR, id)])
  t.deepEqual(two.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  t.is((await snapshots()).length, 1)
  await room.take(await room.jobOf((await snapshots())[0]?.id ?? ''))
  await Promise.all([tick(), room.captures.tick.run()])
  await tick()
  t.is((await open('point.create')).length, 2)
  await made({ full: false })
  await ended()
  t.like(await get(id), { status: 'available', consistency: 'frozen' })

  const take = (caller: Caller) => room.captures.instanceSnapshots.create(caller, { name: 's', instance })
  t.is((await keyed(take, 'b')).id, (await keyed(take, 'b')).id)
})

test.serial('a backup whose parts nobody ordered to the end says so; states and tenants', async (t) => {
  await room.instance('web', { '/': null })
  await room.instance('dead', { '/': null }, { state: 'OTHER' })
  await t.throwsAsync(backups().create(OPERATOR, { name: 'x', instance: 'dead' }), { message: /on its way/ })
  await t.throwsAsync(backups().create(OPERATOR, { name: 'x', instance: 'web', target: 'none' }), { message: /target/ })
  const { id } = await backups().create(OPERATOR, { name: 'x', instance: 'web' })
  await made({ consistency: 'fuzzy', held: { ...HELD, intact: false } })
  t.regex((await get(id)).failReason ?? '', /moved while/)
  await t.throwsAsync(backups().update(OPERATOR, id), { message: /not incremental/ })
  await room.db.query(`update instance_backup set ordering_until = now() - interval '1 second', deleting = false`)
  const points = await room.db.query(`update point set made = jsonb_set(made, '{consistency}', '"crash"') returning id`)
  t.is(points[1], 1)
  t.regex((await get(id)).failReason ?? '', /interrupted/)

  const other = room.tenant(await room.group('captures-3'))
  await t.throwsAsync(backups().get(other, id), { message: /no backup/ })
  await t.throwsAsync(backups().update(other, id), { message: /no backup/ })
  await t.throwsAsync(backups().delete(other, id), { message: /no backup/ })
  await t.throwsAsync(backups().create(other, { name: 'x', instance: 'web' }), { message: /no container/ })
  t.deepEqual((await backups().list(other, {}, PAGE)).items, [])
})
