import test from 'ava'
import { createInstanceFoldStore } from '../control-plane/db/stores/instance-fold-store.ts'
import type { FleetError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { type CaptureRoom, openCaptureRoom } from './harness/capture-room.ts'
import { ADMIN, OPERATOR } from './harness/point-room.ts'
import { GIB } from './harness/volume-room.ts'

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

/** A container with its root and a mount in datasets, and a volume that is attached to it. */
async function web() {
  await room.dataset('web')
  await room.dataset('data')
  const volume = await room.volume('disk', OPERATOR)
  const id = await room.instance('web', { '/': 'web', '/data': 'data', '/host': null })
  await room.attach(volume.id, id)
  return { id, volume }
}

/** Taken by its host. */
async function available(name: string, instance = 'web') {
  const { id } = await room.captures.instanceSnapshots.create(OPERATOR, { name, instance })
  const jobId = await room.jobOf(id)
  await room.take(jobId)
  return room.captures.instanceSnapshots.get(OPERATOR, id)
}

test.serial('all that an instance is made of is one order, and what it came to is kept', async (t) => {
  const { id, volume } = await web()
  const made = await room.captures.instanceSnapshots.create(OPERATOR, { name: 'before', instance: 'web' })
  t.like(made, { name: 'before', instanceId: id, status: 'creating', consistency: null, leftOut: ['/host'] })
  t.like(made.instance, { type: 'lxc', name: 'web', host: 'a' })
  t.deepEqual(
    made.parts.map(({ kind, status }) => [kind, status]),
    [
      ['dataset', 'creating'],
      ['dataset', 'creating'],
      ['volume', 'creating'],
    ],
  )
  const jobId = await room.jobOf(made.id)
  const { spec } = await room.sent(jobId)
  if (spec.kind !== 'instance.snapshot') throw new Error(spec.kind)
  t.like(spec, { place: { type: 'lxc', instance: 'web' }, hold: 'pause', instanceId: id })
  const [root, , disk] = spec.parts
  t.deepEqual(root?.kind === 'dataset' && root.source, { pool: 'a-pool', dataset: made.parts[0]?.sourceId })
  t.like(disk, { kind: 'volume', snapshotId: made.parts[2]?.id })
  t.is(made.parts[2]?.sourceId, volume.id)
  const busy = await t.throwsAsync<FleetError>(room.captures.instanceSnapshots.delete(OPERATOR, made.id))
  t.deepEqual([busy?.code, busy?.blockers], ['conflict', [`job ${jobId}`]])

  await room.take(jobId)
  const now = await room.captures.instanceSnapshots.get(OPERATOR, made.id)
  t.like(now, { status: 'available', consistency: 'frozen', failReason: null, version: 2 })
  t.deepEqual(
    now.parts.map(({ status, sizeBytes }) => [status, sizeBytes]),
    [
      ['available', 0],
      ['available', 0],
      ['available', 2 * GIB],
    ],
  )
  const snapshots = await room.datasets.list(OPERATOR, { snapshots: true })
  t.deepEqual(
    snapshots.map(({ id: dataset, state, readonly, origin }) => [dataset, state, readonly, origin?.name]),
    [
      [now.parts[0]?.id, 'available', true, 'web'],
      [now.parts[1]?.id, 'available', true, 'data'],
    ],
  )
  t.is((await room.rows('volume_snapshot')).length, 1)

  // Nobody takes a part out of it.
  const name = snapshots[0]?.name ?? ''
  const kept = await t.throwsAsync<FleetError>(room.datasets.delete(OPERATOR, { name }))
  t.deepEqual([kept?.code, kept?.blockers], ['conflict', [`instance snapshot ${made.id}`]])
  const [volumeSnapshot] = (await room.volumes.snapshots(OPERATOR, 'a-pool/disk', PAGE)).items
  const held = await t.throwsAsync<FleetError>(
    room.volumes.deleteSnapshot(OPERATOR, 'a-pool/disk', volumeSnapshot?.name ?? ''),
  )
  t.deepEqual([held?.code, held?.blockers], ['conflict', [`instance snapshot ${made.id}`]])

  await t.throwsAsync(
    room.captures.instanceSnapshots.delete(OPERATOR, made.id, ({ version }) => version === 1),
    {
      message: /has changed/,
    },
  )
  await room.captures.instanceSnapshots.delete(OPERATOR, made.id)
  t.like(await room.captures.instanceSnapshots.get(OPERATOR, made.id), { status: 'deleting' })
  const going = await room.jobOf(made.id)
  const order = (await room.sent(going)).spec
  t.deepEqual(order.kind === 'instance.discard' && order.parts.map(({ kind }) => kind), [
    'volume',
    'dataset',
    'dataset',
  ])
  await room.captures.instanceSnapshots.delete(OPERATOR, made.id)
  await room.succeed(going, { removed: 3, error: null })
  await t.throwsAsync(room.captures.instanceSnapshots.get(OPERATOR, made.id), { message: /no snapshot/ })
  t.deepEqual(await room.datasetsNow(), ['web available', 'data available'])
  t.deepEqual(await room.rows('volume_snapshot'), [])
})

test.serial('one that fails leaves no part behind, says why, and goes without its host', async (t) => {
  await web()
  const { id } = await room.captures.instanceSnapshots.create(OPERATOR, { name: 'x', instance: 'web' })
  await room.fail(await room.jobOf(id), { code: 'no_space', message: 'the pool is full' })
  const failed = await room.captures.instanceSnapshots.get(OPERATOR, id)
  t.like(failed, { status: 'error', failReason: 'the pool is full', consistency: null })
  t.deepEqual(
    failed.parts.map(({ status }) => status),
    ['error', 'error', 'error'],
  )
  t.deepEqual(await room.datasetsNow(), ['web available', 'data available'])
  t.deepEqual(await room.rows('volume_snapshot'), [])
  await room.captures.instanceSnapshots.delete(OPERATOR, id)
  t.deepEqual((await room.captures.instanceSnapshots.list(OPERATOR, {}, PAGE)).items, [])
})

test.serial('a deletion that stops half way says why, and is said again', async (t) => {
  await web()
  const { id } = await available('x')
  await room.captures.instanceSnapshots.delete(OPERATOR, id)
  await room.fail(await room.jobOf(id), { code: 'busy', message: 'too much at once' })
  t.like(await room.captures.instanceSnapshots.get(OPERATOR, id), {
    status: 'available',
    failReason: 'it was not deleted: too much at once',
  })
  await room.captures.instanceSnapshots.delete(OPERATOR, id)
  await room.succeed(await room.jobOf(id), { removed: 1, error: { code: 'conflict', message: 'in use' } })
  const half = await room.captures.instanceSnapshots.get(OPERATOR, id)
  t.like(half, { status: 'error', failReason: 'it was not deleted: in use' })
  t.deepEqual(
    half.parts.map(({ status }) => status),
    ['available', 'available', 'error'],
  )
  await room.captures.instanceSnapshots.delete(OPERATOR, id)
  const { spec } = await room.sent(await room.jobOf(id))
  t.is(spec.kind === 'instance.discard' && spec.parts.length, 2)
  await room.succeed(await room.jobOf(id), { removed: 2, error: null })
  t.deepEqual((await room.captures.instanceSnapshots.list(OPERATOR, {}, PAGE)).items, [])
})

test.serial('states and places that no snapshot is taken of, and what volumes were cloned from stays', async (t) => {
  const { id, volume } = await web()
  await room.instance('dead', { '/': 'web' }, { state: 'OTHER' })
  await t.throwsAsync(room.captures.instanceSnapshots.create(OPERATOR, { name: 'x', instance: 'dead' }), {
    message: /on its way/,
  })
  await room.instance('outside', { '/': null })
  await t.throwsAsync(room.captures.instanceSnapshots.create(OPERATOR, { name: 'x', instance: 'outside' }), {
    message: /nothing of 'outside' lies in a pool/,
  })
  await t.throwsAsync(room.captures.instanceSnapshots.create(OPERATOR, { name: 'x', instance: 'none' }), {
    message: /no container 'none'/,
  })
  const { volume: far } = await room.volumes.create(OPERATOR, { name: 'far', sizeBytes: GIB, pool: 'b-pool' })
  await room.succeed((await room.jobs.list(ADMIN, { kind: 'volume.create' }, { limit: 1 })).items[0]?.id ?? '', {
    ...{ sizeBytes: GIB, device: '/b', guid: 'far', cow: true },
  })
  await room.attach(far.id, id)
  const apart = await t.throwsAsync<FleetError>(
    room.captures.instanceSnapshots.create(OPERATOR, { name: 'x', instance: id }),
  )
  t.deepEqual([apart?.code, apart?.blockers], ['conflict', ['volume b-pool/far']])
  await room.db.query('delete from volume_attachment where volume_id = $1', [far.id])

  const { id: made, parts } = await available('x')
  const [snapshot] = (await room.volumes.snapshots(OPERATOR, `a-pool/${volume.name}`, PAGE)).items
  t.is(snapshot?.id, parts[2]?.id)
  const clone = await room.volumes.clone(OPERATOR, { source: snapshot?.path ?? '', name: 'c' })
  await room.succeed(clone.jobId, room.made({ pool: 'a-pool', volume: 'c' }))
  const needed = await t.throwsAsync<FleetError>(room.captures.instanceSnapshots.delete(OPERATOR, made))
  t.deepEqual([needed?.code, needed?.blockers], ['conflict', ['volume a-pool/c']])

  // Another tenant has none of it.
  const other = room.tenant(await room.group('captures-1'))
  await t.throwsAsync(room.captures.instanceSnapshots.get(other, made), { message: /no snapshot/ })
  await t.throwsAsync(room.captures.instanceSnapshots.delete(other, made), { message: /no snapshot/ })
  await t.throwsAsync(room.captures.instanceSnapshots.create(other, { name: 'x', instance: id }), {
    message: /no container/,
  })
  t.deepEqual((await room.captures.instanceSnapshots.list(other, {}, PAGE)).items, [])
  // Its container may lie in what is not its own: that is left out.
  await room.dataset('theirs', 'a', other)
  await room.instance('mixed', { '/': 'theirs', '/data': 'data' }, { groupId: other.groupId })
  const mixed = await room.captures.instanceSnapshots.create(other, { name: 'x', instance: 'mixed' })
  t.is(mixed.parts.length, 1)
  t.deepEqual(mixed.leftOut, ['/data'])
})

test.serial('a snapshot whose order failed is taken again, and what is left of one is deleted again', async (t) => {
  await web()
  const { id } = await room.captures.instanceSnapshots.create(OPERATOR, { name: 'before', instance: 'web' })
  const failed = await room.jobOf(id)
  await room.fail(failed, { code: 'unavailable', message: 'the engine was gone' })
  t.is((await room.captures.instanceSnapshots.get(OPERATOR, id)).status, 'error')
  const again = await room.jobs.retry(OPERATOR, failed)
  t.like(again, { kind: 'instance.snapshot', retryOf: failed })
  await room.take(again.id)
  const taken = (await room.captures.instanceSnapshots.list(OPERATOR, {}, PAGE)).items.find((one) => one.id !== id)
  t.like(taken, { name: 'before', status: 'available' })

  await room.captures.instanceSnapshots.delete(OPERATOR, taken?.id ?? '')
  const discarding = await room.jobOf(taken?.id ?? '')
  await room.fail(discarding, { code: 'unavailable', message: 'the host was away' })
  const anew = await room.jobs.retry(OPERATOR, discarding)
  t.like(anew, { kind: 'instance.discard', retryOf: discarding })
  await t.throwsAsync(room.jobs.retry(OPERATOR, discarding), { code: 'conflict' })
  await room.succeed(anew.id, { removed: taken?.parts.length, error: null })
  await t.throwsAsync(room.captures.instanceSnapshots.get(OPERATOR, taken?.id ?? ''), { code: 'not_found' })
})

/** What host `a` lists. @returns the volumes that its domain has by that, with how */
async function folds(...disks: { destination: string; volume: string | null; readonly?: boolean }[]) {
  const store = createInstanceFoldStore(room.sql)
  const hash = newId()
  const { claimed } = (await store.claim('a', hash)) ?? {}
  if (claimed === undefined) throw new Error('no claim')
  const mounts = disks.map((disk) => ({ kind: 'disk' as const, source: '/s', readonly: false, ...disk }))
  const vm = {
    type: 'libvirt' as const,
    instance: 'vm',
    name: 'vm',
    state: 'STOPPED' as const,
    configHash: 'c',
    mounts,
  }
  const types = [{ type: 'libvirt' as const, listed: true, problem: null }]
  await store.fold(claimed, { hash, takenAtMs: claimed.nowMs, types, items: disks.length === 0 ? [] : [vm] })
  const rows = await room.db.query(
    'select v.path, a.mountpoint, a.mode, a.is_disk from volume_attachment a join volume v on v.id = a.volume_id order by 1',
  )
  return rows.map((row: { path: string; mountpoint: string | null; mode: string; is_disk: boolean }) =>
    [row.path, row.mountpoint, row.mode, row.is_disk ? 'told' : 'noted'].join(' '),
  )
}

test.serial('disks of a domain that are volumes are attached to it for as long as its host says so', async (t) => {
  const own = await room.volume('own', OPERATOR)
  await room.volume('other', OPERATOR)
  const far = await room.volume('far', OPERATOR, 'b-pool')
  const exported = `insert into export (id, group_id, pool_id, wwn, volume, initiators, state)
    select $1, v.group_id, v.pool_id, $2, v.path, '[]', 'available' from volume v where v.id = $3`
  await room.db.query(exported, [newId(), 'iqn.2026-01.test:far', far.id])
  const [vda, vdb] = [
    { destination: '/dev/vda', volume: 'a-pool/own' },
    { destination: '/dev/vdb', volume: 'iscsi:iqn.2026-01.test:far', readonly: true },
  ]
  t.deepEqual(await folds(vda, vdb, { destination: '/dev/vdc', volume: null }), [
    'a-pool/own /dev/vda rw told',
    'b-pool/far /dev/vdb ro told',
  ])
  t.deepEqual(await folds(vda, { destination: '/dev/vdd', volume: 'a-pool/nowhere' }), ['a-pool/own /dev/vda rw told'])

  // One that was put in since the host was listed, and one that is no volume: both are left out, and named.
  room.tells('vm', [
    { ...vda, dataset: null },
    { destination: '/dev/vdb', dataset: null, volume: 'a-pool/other' },
    { destination: '/dev/vdc', dataset: null },
  ])
  const taken = await room.captures.instanceSnapshots.create(OPERATOR, { name: 'x', instance: 'vm' })
  t.deepEqual(
    taken.parts.map(({ kind, sourceId }) => [kind, sourceId]),
    [['volume', own.id]],
  )
  t.deepEqual(taken.leftOut, ['/dev/vdb', '/dev/vdc'])
  await room.fail(await room.jobOf(taken.id), { code: 'internal', message: 'x' })

  // What somebody has noted by hand is his to end.
  const [{ id }] = await room.db.query(`select id from instance where name = 'vm'`)
  await room.db.query('delete from volume_attachment')
  await room.attach(own.id, id)
  t.deepEqual(await folds(vda, { destination: '/dev/vdb', volume: 'a-pool/other' }), [
    'a-pool/other /dev/vdb rw told',
    'a-pool/own  rw noted',
  ])
  t.deepEqual(await folds(), ['a-pool/own  rw noted'])
})
