import test, { type ExecutionContext } from 'ava'
import type { Caller } from '../control-plane/core/caller.ts'
import type { CreatePoint } from '../control-plane/core/points.ts'
import { createIdempotencyStore } from '../control-plane/db/stores/idempotency-store.ts'
import { FleetError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { ADMIN, MADE, OPERATOR } from './harness/point-room.ts'
import { GIB, INITIATOR, openVolumeRoom, type VolumeRoom, wwnOf } from './harness/volume-room.ts'

const VOLUME = 'a-pool/v'
const place = { pool: 'a-pool', volume: 'v' }
/** By code, and by the field at fault where there is one. */
async function refuses(t: ExecutionContext, work: Promise<unknown>, code: string, field?: string) {
  const error = await t.throwsAsync(work, { instanceOf: FleetError, code })
  if (field !== undefined) t.is(error instanceof FleetError && error.field, field)
  return error instanceof FleetError ? error : undefined
}

const cleanUps: (() => unknown)[] = []
let room: VolumeRoom
test.before(async () => {
  room = await openVolumeRoom({ teardown: (act) => void cleanUps.push(act) })
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})
test.beforeEach(async () => {
  await room.forget()
  await room.volume('v')
})

/** A point of the volume that has been made. */
async function pointOf(given: Partial<CreatePoint> = {}, made = {}) {
  const { jobId, point } = await room.points.create(ADMIN, { source: { volume: VOLUME }, ...given })
  await room.succeed(jobId, { ...MADE, full: point.chain.length === 0, ...made })
  return room.points.get(ADMIN, point.id)
}

test.serial('a point of a volume is ordered for its host, and increments rest on it', async (t) => {
  const volume = await room.volumes.get(ADMIN, VOLUME)
  const { jobId, point } = await room.points.create(OPERATOR, { source: { volume: volume.id }, path: 'nightly' })
  t.like(point, {
    source: { kind: 'volume', id: volume.id, name: VOLUME, snapshot: null },
    host: 'a',
    status: 'running',
  })
  t.regex(point.series, /^nightly\/volume-backup@a-pool-v-[0-9a-f]{8}$/)
  const { spec } = await room.sent(jobId)
  t.like(spec, { kind: 'point.create', bases: [], about: { source: VOLUME, host: 'a' } })
  t.deepEqual(spec.kind === 'point.create' && spec.source, { kind: 'volume', place })
  await room.succeed(jobId, MADE)
  const next = await pointOf({ path: 'nightly', incremental: true })
  t.deepEqual(next.chain, [point.id])
  t.deepEqual(
    (await room.points.list(OPERATOR, { source: VOLUME, status: 'good' }, { limit: 10 })).items
      .filter(({ id }) => [point.id, next.id].includes(id))
      .map(({ id }) => id),
    [next.id, point.id],
  )
  const tenant = room.tenant(await room.group('points-blue'))
  await refuses(t, room.points.create(tenant, { source: { volume: VOLUME } }), 'not_found', 'source.volume')
  await refuses(t, room.points.create(tenant, { source: { volume: volume.id } }), 'not_found')
})

test.serial(
  'nobody changes a volume until its image is taken, nor the snapshot that is read until the end',
  async (t) => {
    const { jobId } = await room.points.create(ADMIN, { source: { volume: VOLUME } })
    const larger = await room.volumes.resize(ADMIN, VOLUME, 2 * GIB)
    t.is(await room.stateOf(larger.jobId), 'queued')
    await room.tell(jobId, { type: 'release', seq: 1, at: 0 })
    await room.sent(larger.jobId)
    await room.succeed(larger.jobId, { ...room.made(place), sizeBytes: 2 * GIB })

    await room.snapshot(VOLUME, 's')
    const read = await room.points.create(ADMIN, { source: { volume: VOLUME, snapshot: 's' }, path: 'other' })
    t.like(read.point.source, { snapshot: 's' })
    t.like((await room.sent(read.jobId)).spec, { source: { place, snapshot: 's' }, about: { snapshot: 's' } })
    await room.tell(read.jobId, { type: 'release', seq: 1, at: 0 })
    await room.snapshot(VOLUME, 'meanwhile')
    const gone = await room.volumes.deleteSnapshot(ADMIN, VOLUME, 's')
    t.is(await room.stateOf(gone.jobId), 'queued')
    const readAt = (snapshot: string) => room.points.create(ADMIN, { source: { volume: VOLUME, snapshot } })
    await refuses(t, readAt('s'), 'conflict')
    await refuses(t, readAt('none'), 'not_found', 'source.snapshot')
    await room.succeed(read.jobId, MADE)
    await room.sent(gone.jobId)
  },
)

test.serial('a series may have a directory of its own, and a retry finds it', async (t) => {
  const { jobId, point } = await room.points.create(ADMIN, {
    ...{ source: { volume: VOLUME }, path: 'x', directory: 'volume-backup@1', incremental: true },
  })
  t.is(point.series, 'x/volume-backup@1')
  await room.fail(jobId, { code: 'no_space', message: 'the target is full' })
  const again = await room.jobs.retry(ADMIN, jobId)
  t.like(again.spec, { series: 'x/volume-backup@1', source: { kind: 'volume' } })
  const wrong = { source: { volume: VOLUME }, directory: 'a/b' }
  await refuses(t, room.points.create(ADMIN, wrong), 'invalid', 'directory')
})

test.serial('a volume that is rolled back is another image, and what it was is a snapshot', async (t) => {
  await room.snapshot(VOLUME, 's')
  const [hash, holder] = ['ab'.repeat(32), newId()]
  await createIdempotencyStore(room.sql).hold({ hash, fingerprints: ['cd'.repeat(32)] }, holder)
  const key = { hash, holder, next: () => 0 }
  const keyed: Caller = { ...OPERATOR, key }
  const { jobId, safety } = await room.volumes.rollback(keyed, VOLUME, 's')
  t.regex(safety.name, /^before-\d{8}T\d{6}Z$/)
  t.like(safety, { path: `${VOLUME}@${safety.name}`, state: 'creating', sizeBytes: GIB })
  const before = await room.volumes.get(ADMIN, VOLUME)
  const { spec } = await room.sent(jobId)
  t.deepEqual(spec, {
    kind: 'volume.rollback',
    place: { ...place, snapshot: 's' },
    ...{ safety: safety.name, safetyId: safety.id, volumeId: before.id },
  })
  const again = await room.volumes.rollback(keyed, VOLUME, 's')
  t.deepEqual([again.jobId, again.safety.id], [jobId, safety.id])
  const volume = { ...room.made(place), sizeBytes: GIB / 2 }
  await room.succeed(jobId, { volume, safety: { guid: 'safe', sizeBytes: GIB } })
  t.like(await room.volumes.get(ADMIN, VOLUME), {
    id: before.id,
    guid: volume.guid,
    sizeBytes: GIB / 2,
    state: 'available',
  })
  t.deepEqual(await room.rows('volume_snapshot'), [`${safety.path} available`, `${VOLUME}@s available`])

  const second = await room.volumes.rollback(OPERATOR, VOLUME, safety.name)
  t.not(second.safety.name, safety.name)
  const third = await room.volumes.rollback(OPERATOR, VOLUME, 's')
  t.not(third.safety.name, second.safety.name)
  await room.fail(second.jobId, { code: 'internal', message: 'it broke' })
  await room.fail(third.jobId, { code: 'internal', message: 'it broke' })
  t.like(await room.volumes.get(ADMIN, VOLUME), { guid: volume.guid })
  t.deepEqual(await room.rows('volume_snapshot'), [`${safety.path} available`, `${VOLUME}@s available`])
  t.like(await room.jobs.retry(ADMIN, third.jobId), { kind: 'volume.rollback', retryOf: third.jobId })
})

test.serial('what is in use, or is not there, is not rolled back', async (t) => {
  await room.snapshot(VOLUME, 's')
  await refuses(t, room.volumes.rollback(ADMIN, VOLUME, 'none'), 'not_found')
  const tenant = room.tenant(await room.group('rollback-blue'))
  await refuses(t, room.volumes.rollback(tenant, VOLUME, 's'), 'not_found')
  await refuses(t, room.volumes.rollback({ ...OPERATOR, role: 'viewer' }, VOLUME, 's'), 'forbidden')
  const { jobIds } = await room.exports.create(ADMIN, [{ volume: VOLUME, wwn: wwnOf('v'), initiators: [INITIATOR] }])
  await room.exported(jobIds[0] ?? '')
  const exported = await room.exports.get(ADMIN, wwnOf('v'))
  const sessions = [{ initiator: INITIATOR, address: '' }]
  const answer = (given: typeof sessions) => ({
    ok: true,
    body: {
      ...{ technology: 'tgt', portals: [], lun: 1, next: null },
      items: [{ wwn: wwnOf('v'), exportId: exported.id, place, standing: true, sessions: given }],
    },
  })
  let told = answer(sessions)
  await room.answers('a', 'exports', () => told)
  const error = await refuses(t, room.volumes.rollback(ADMIN, VOLUME, 's'), 'conflict')
  t.deepEqual(error?.blockers, [`export ${wwnOf('v')}`])
  const point = await pointOf()
  await refuses(t, room.volumes.restore(ADMIN, { point: point.id, volume: VOLUME, overwrite: true }), 'conflict')
  told = answer([])
  await t.notThrowsAsync(room.volumes.rollback(ADMIN, VOLUME, 's'))
})

test.serial('a point becomes a new volume, of which no row stays when it does not', async (t) => {
  const base = await pointOf({ path: 'chain' })
  const point = await pointOf({ path: 'chain', incremental: true })
  const asked = { point: point.id, volume: 'a-pool/sub/new', sizeBytes: 2 * GIB, createParent: true }
  const { jobId, volume } = await room.volumes.restore(OPERATOR, asked)
  t.like(volume, { name: 'sub/new', state: 'creating', guid: null, sizeBytes: 2 * GIB })
  const { spec } = await room.sent(jobId)
  t.like(spec, {
    ...{ kind: 'volume.restore', pointId: point.id, mode: 'new', createParent: true, volumeId: volume.id },
    ...{ place: { pool: 'a-pool', volume: 'sub/new' }, sizeBytes: 2 * GIB },
    chain: [{ id: base.id }, { id: point.id }],
  })
  t.is((await room.sent(jobId)).notAfter, null)
  const removal = await room.points.delete(ADMIN, point.id)
  t.is(await room.stateOf(removal.jobId), 'queued')
  await refuses(t, room.volumes.restore(ADMIN, asked), 'conflict')
  await room.jobs.cancel(ADMIN, removal.jobId)
  await refuses(t, room.volumes.restore(ADMIN, asked), 'exists')
  await room.fail(jobId, { code: 'no_space', message: 'the pool is full' })
  t.deepEqual(await room.rows('volume'), [`${VOLUME} available`])
  const again = await room.jobs.retry(ADMIN, jobId)
  const made = room.made({ pool: 'a-pool', volume: 'sub/new' })
  await room.succeed(again.id, { volume: made, bytes: GIB })
  t.like(await room.volumes.get(ADMIN, 'a-pool/sub/new'), { state: 'available', guid: made.guid, sizeBytes: GIB })
})

test.serial('a point takes the place of a volume that stands there, if it may', async (t) => {
  const source = await room.snapshot(VOLUME, 's')
  const clone = await room.volumes.clone(ADMIN, { source, name: 'c' })
  await room.succeed(clone.jobId, room.made({ pool: 'a-pool', volume: 'c' }))
  const point = await pointOf()
  const asked = { point: point.id, volume: 'a-pool/c' }
  await refuses(t, room.volumes.restore(ADMIN, asked), 'exists')
  const broken = await room.volumes.restore(ADMIN, { ...asked, overwrite: true })
  t.like(broken.volume, { id: clone.volume.id, state: 'available' })
  const audited = await room.db.query('select object_kind, object_id from audit where job_id = $1', [broken.jobId])
  t.like(audited[0], { object_kind: 'volume', object_id: clone.volume.id })
  t.like((await room.sent(broken.jobId)).spec, { mode: 'over', volumeId: clone.volume.id })
  await room.fail(broken.jobId, { code: 'corrupt', message: 'the point is damaged' })
  t.like(await room.volumes.get(ADMIN, 'a-pool/c'), { state: 'available', origin: source })
  const { jobId } = await room.volumes.restore(ADMIN, { ...asked, overwrite: true })
  const made = { ...room.made({ pool: 'a-pool', volume: 'c' }), sizeBytes: GIB / 4 }
  await room.succeed(jobId, { volume: made, bytes: 1 })
  t.like(await room.volumes.get(ADMIN, 'a-pool/c'), {
    ...{ id: clone.volume.id, guid: made.guid, sizeBytes: GIB / 4, origin: null },
  })
  t.deepEqual((await room.volumes.deleteSnapshot(ADMIN, VOLUME, 's')).jobId.length, 36)
})

test.serial('what is tried again goes over no other volume that has the name by now', async (t) => {
  const gone = async () => room.succeed((await room.volumes.delete(ADMIN, 'a-pool/w')).jobId)
  const broken = { code: 'internal', message: 'it broke' } as const
  const point = await pointOf()
  const asked = { point: point.id, volume: 'a-pool/w', overwrite: true }
  const first = await room.volumes.restore(ADMIN, asked)
  await room.fail(first.jobId, broken)
  await room.volume('w')
  await refuses(t, room.jobs.retry(ADMIN, first.jobId), 'stale')

  const over = await room.volumes.restore(ADMIN, asked)
  await room.fail(over.jobId, broken)
  const again = await room.jobs.retry(ADMIN, over.jobId)
  t.like(again.spec, { mode: 'over' })
  await room.fail(again.id, broken)
  await gone()
  const anew = await room.jobs.retry(ADMIN, over.jobId)
  t.like(anew.spec, { mode: 'new' })
  await room.succeed(anew.id, { volume: room.made({ pool: 'a-pool', volume: 'w' }), bytes: 1 })
  await refuses(t, room.jobs.retry(ADMIN, over.jobId), 'stale')

  await room.snapshot('a-pool/w', 's')
  const back = await room.volumes.rollback(ADMIN, 'a-pool/w', 's')
  await room.fail(back.jobId, broken)
  await room.succeed((await room.volumes.deleteSnapshot(ADMIN, 'a-pool/w', 's')).jobId)
  await gone()
  await room.volume('w')
  await room.snapshot('a-pool/w', 's')
  await refuses(t, room.jobs.retry(ADMIN, back.jobId), 'stale')
})

test.serial('only a whole point of a volume becomes one, where its host can read it', async (t) => {
  await room.dataset('files')
  const files = await room.point('files')
  const restore = (caller: Caller, point: string, volume: string) => room.volumes.restore(caller, { point, volume })
  await refuses(t, restore(ADMIN, files.id, 'a-pool/x'), 'invalid', 'volume')
  const point = await pointOf()
  await refuses(t, restore(ADMIN, point.id, 'b-pool/x'), 'invalid', 'volume')
  await refuses(t, restore(ADMIN, point.id, 'no-pool/x'), 'not_found', 'volume')
  await refuses(t, restore(ADMIN, point.id, 'a-pool'), 'invalid', 'volume')
  const tenant = room.tenant(await room.group('restore-blue'))
  await refuses(t, restore(tenant, point.id, 'a-pool/x'), 'not_found')
  const destination = { dataset: 'files', path: '/x' }
  await refuses(t, room.points.restore(ADMIN, point.id, { destination }), 'invalid', 'destination')
  const running = await room.points.create(ADMIN, { source: { volume: VOLUME }, path: 'slow' })
  await refuses(t, restore(ADMIN, running.point.id, 'a-pool/x'), 'conflict')
})
