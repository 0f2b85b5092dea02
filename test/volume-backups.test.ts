import test, { type ExecutionContext } from 'ava'
import { expireJob, MAX_ATTEMPTS } from '../control-plane/core/job-change.ts'
import { createIdempotencyStore } from '../control-plane/db/stores/idempotency-store.ts'
import { createRemovalStore } from '../control-plane/db/stores/removal-store.ts'
import { openVolumeBackups } from '../control-plane/open-volume-backups.ts'
import { FleetError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { ADMIN, MADE, OPERATOR } from './harness/point-room.ts'
import { GIB, INITIATOR, openVolumeRoom, type VolumeRoom, wwnOf } from './harness/volume-room.ts'

const conflict = { instanceOf: FleetError, code: 'conflict' }
const DAV = { name: 'nas', protocol: 'webdav', host: 'nas.test', port: 443, encrypt: true, base: '/', username: 'u' }
const VERIFIED = { files: 1, bytes: 1 }

const cleanUps: (() => unknown)[] = []
let room: VolumeRoom
let backups: ReturnType<typeof open>

function open() {
  const { sql, points, targets, volumes } = room
  return openVolumeBackups({ ...{ sql, points, targets, volumes }, logger: createLogger('test', 'error') })
}

test.before(async () => {
  room = await openVolumeRoom({ teardown: (act) => void cleanUps.push(act) })
  backups = open()
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})

let volumes = 0
const volume = () => {
  volumes += 1
  return room.volume(`v${volumes}`)
}
const pathOf = ({ pool, name }: { readonly pool: string; readonly name: string }) => `${pool}/${name}`
const get = (id: string) => backups.volumeBackups.get(OPERATOR, id)

/** A backup with so many points that went well. */
async function backup(given: { readonly points?: number; readonly retention?: number; readonly target?: string } = {}) {
  const { id } = await volume()
  const { points = 1, ...rest } = given
  const asked = { name: 'nightly', volume: id, incremental: true, ...rest }
  const made = await backups.volumeBackups.create(OPERATOR, asked)
  await room.succeed(made.jobId, MADE)
  for (let n = 1; n < points; n += 1) await update(made.backup.id)
  return get(made.backup.id)
}

async function update(id: string, made: Partial<typeof MADE> = {}): Promise<void> {
  const { jobId } = await backups.volumeBackups.update(OPERATOR, id)
  await room.succeed(jobId, { ...MADE, full: false, ...made })
}

/** All that is due, and what hosts say to the deletions that came of it. @returns the points that went, in their order. */
async function settle(t: ExecutionContext, rounds = 20): Promise<string[]> {
  const gone: string[] = []
  for (let n = 0; n < rounds; n += 1) {
    await backups.tick.run()
    const { items } = await room.jobs.list(
      ADMIN,
      { kind: 'point.delete', state: ['queued', 'dispatched'] },
      { limit: 100 },
    )
    if (items.length === 0) return gone
    for (const { id, spec } of items) {
      await room.succeed(id)
      if ('pointId' in spec) gone.push(spec.pointId)
    }
  }
  t.fail('it does not end')
  return gone
}

test.serial('a backup is a series of its own, and each update completes it', async (t) => {
  const { id: volumeId, ...source } = await volume()
  const asked = { name: 'nightly, of the web', volume: pathOf(source), incremental: true }
  const made = await backups.volumeBackups.create(OPERATOR, asked)
  const { id } = made.backup
  t.like(made.backup, {
    ...{ name: asked.name, volumeId, volume: asked.volume, snapshotId: null, target: null, isIncremental: true },
    ...{ status: 'creating', sizeBytes: 0, storedBytes: 0, points: [], failReason: null, jobId: made.jobId },
  })
  const { spec } = await room.sent(made.jobId)
  t.like(spec, { kind: 'point.create', series: `volume-backup@${id}`, bases: [], source: { kind: 'volume' } })
  await t.throwsAsync(backups.volumeBackups.update(OPERATOR, id), conflict)
  await t.throwsAsync(backups.volumeBackups.delete(OPERATOR, id), { ...conflict, message: /still being made/ })
  await room.tell(made.jobId, { type: 'start', seq: 1, at: 0 })
  await room.tell(made.jobId, { type: 'progress', seq: 2, at: 1, progress: { phase: 'copy', percent: 42.7 } })
  t.is((await get(id)).progressPercent, 42)
  await room.succeed(made.jobId, MADE)
  const first = await get(id)
  t.like(first, { status: 'available', sizeBytes: GIB, storedBytes: 400, progressPercent: null })
  t.is(first.points.length, 1)
  t.true(first.version > made.backup.version)

  const { jobId } = await backups.volumeBackups.update(OPERATOR, id)
  t.like(await get(id), { status: 'creating', jobId, points: first.points })
  const next = await room.sent(jobId)
  t.deepEqual(next.spec.kind === 'point.create' && next.spec.bases.map((base) => base.id), first.points)
  await room.succeed(jobId, { ...MADE, full: false, storedBytes: 10 })
  t.like(await get(id), { status: 'available', storedBytes: 410, jobId })
  t.is((await get(id)).points.length, 2)
  const listed = (filter: object) => backups.volumeBackups.list(OPERATOR, filter, { limit: 10 })
  t.deepEqual((await listed({ volumeId })).items, [await get(id)])
  t.deepEqual((await listed({ name: asked.name })).items.length, 1)
  t.deepEqual((await listed({ name: 'x\0' })).items, [])
})

test.serial('a backup of a snapshot, on a target; one that is not incremental takes no update', async (t) => {
  const { id: volumeId, ...source } = await volume()
  const snapshotId = (await room.volumes.snapshot(OPERATOR, pathOf(source), 's')).snapshot.id
  const asked = { name: 'once', volume: volumeId, snapshot: snapshotId }
  await t.throwsAsync(backups.volumeBackups.create(OPERATOR, asked), { ...conflict, message: /still being made/ })
  const [job] = (await room.jobs.list(ADMIN, { kind: 'volume.snapshot' }, { limit: 1 })).items
  await room.succeed(job?.id ?? '', { guid: 's', sizeBytes: GIB / 2 })
  const target = await room.targets.create(ADMIN, { config: DAV, secret: { password: room.unguessable() } })
  const made = await backups.volumeBackups.create(OPERATOR, { ...asked, target: target.id })
  t.like(made.backup, { snapshotId, target: { id: target.id, name: 'nas' }, isIncremental: false })
  const { spec } = await room.sent(made.jobId)
  t.like(spec, { source: { kind: 'volume', snapshot: 's' }, target: { id: target.id } })
  await room.succeed(made.jobId, MADE)
  t.is((await get(made.backup.id)).sizeBytes, GIB / 2)
  await t.throwsAsync(backups.volumeBackups.update(OPERATOR, made.backup.id), {
    instanceOf: FleetError,
    code: 'invalid',
  })
  const other = await volume()
  const wrong = { instanceOf: FleetError, code: 'invalid', message: /is not one of/ }
  await t.throwsAsync(backups.volumeBackups.create(OPERATOR, { ...asked, volume: other.id }), wrong)
  await t.throwsAsync(backups.volumeBackups.create(OPERATOR, { name: 'x', volume: other.id, target: newId() }), {
    instanceOf: FleetError,
    code: 'not_found',
  })
})

test.serial('what failed tells why, and the next good point makes up for it', async (t) => {
  const { id } = await backup()
  const { jobId } = await backups.volumeBackups.update(OPERATOR, id)
  await room.fail(jobId, { code: 'no_space', message: 'the target is full' })
  const failed = await get(id)
  t.like(failed, { status: 'error', failReason: 'the target is full', jobId })
  t.is(failed.points.length, 1)
  const again = await room.jobs.retry(ADMIN, jobId)
  t.like(await get(id), { status: 'creating', failReason: null, jobId: again.id })
  await t.throwsAsync(room.jobs.retry(ADMIN, jobId), { ...conflict, message: /a job about the backup goes on/ })
  await room.succeed(again.id, { ...MADE, problemCount: 2, problems: [{ path: 'chunks/1', reason: 'EIO' }] })
  t.like(await get(id), {
    status: 'error',
    failReason: '2 parts of the volume could not be read: the newest point is partial (EIO)',
  })
  await update(id)
  t.like(await get(id), { status: 'available', failReason: null })
  const [, newest = ''] = (await get(id)).points
  const verify = await room.points.verify(ADMIN, newest)
  await room.fail(verify.jobId, { code: 'corrupt', message: 'damaged', members: ['chunks/1'], points: [newest] })
  t.like(await get(id), { status: 'error', failReason: 'its newest point was found damaged; an update makes another' })
  const mended = await room.points.verify(ADMIN, newest)
  await room.succeed(mended.jobId, VERIFIED)
  t.is((await get(id)).status, 'available')
})

test.serial('a job whose host is not heard of any more ends as an error of the backup', async (t) => {
  const { id } = await backup()
  const { jobId } = await backups.volumeBackups.update(OPERATOR, id)
  await room.sent(jobId)
  await room.tell(jobId, { type: 'start', seq: 1, at: 0 })
  await room.db.query(`update job set heard_at = now() - interval '1 hour', attempt = $2 where id = $1`, [
    jobId,
    MAX_ATTEMPTS,
  ])
  await room.plane().changes.changeSilent({ silentMs: 60_000, limit: 10 }, expireJob)
  const { status, failReason } = await get(id)
  t.is(status, 'error')
  t.regex(failReason ?? '', /stopped reporting 5 times/)
})

test.serial('a first point that is cancelled leaves an error that can be updated and deleted', async (t) => {
  const { id } = await volume()
  const made = await backups.volumeBackups.create(OPERATOR, { name: 'x', volume: id, incremental: true })
  await room.sent(made.jobId)
  await room.jobs.cancel(ADMIN, made.jobId)
  await room.end(made.jobId, { type: 'fail', error: { code: 'cancelled', message: 'the job was cancelled' } })
  t.like(await get(made.backup.id), { status: 'error', sizeBytes: 0, points: [] })
  await t.throwsAsync(backups.volumeBackups.restore(OPERATOR, made.backup.id, { volume: 'a-pool/new' }), conflict)
  await update(made.backup.id, { full: true })
  t.like(await get(made.backup.id), { status: 'available', sizeBytes: GIB })
})

test.serial('a restore takes the newest good point, and tells when it failed', async (t) => {
  const { id, points } = await backup({ points: 2 })
  const path = 'a-pool/restored'
  const { jobId, volume } = await backups.volumeBackups.restore(OPERATOR, id, { volume: path })
  t.like(volume, { name: 'restored', state: 'creating', sizeBytes: GIB })
  t.like(await get(id), { status: 'restoring', jobId })
  const { spec } = await room.sent(jobId)
  t.like(spec, { kind: 'volume.restore', mode: 'new', pointId: points[1] })
  await t.throwsAsync(backups.volumeBackups.update(OPERATOR, id), conflict)
  await t.throwsAsync(backups.volumeBackups.delete(OPERATOR, id), { ...conflict, message: /being restored/ })
  await room.fail(jobId, { code: 'no_space', message: 'the pool is full' })
  t.like(await get(id), { status: 'available', failReason: 'the restore failed: the pool is full', jobId })
  const again = await backups.volumeBackups.restore(OPERATOR, id, { volume: path, sizeBytes: 2 * GIB })
  await room.succeed(again.jobId, { volume: room.made({ pool: 'a-pool', volume: 'restored' }), bytes: 1 })
  t.like(await get(id), { status: 'available', failReason: null, jobId: again.jobId })
  const smaller = backups.volumeBackups.restore(OPERATOR, id, { volume: 'a-pool/small', sizeBytes: GIB / 2 })
  await t.throwsAsync(smaller, { instanceOf: FleetError, code: 'invalid' })
})

test.serial('the newest good points are kept, with what they rest on', async (t) => {
  const { id, points } = await backup({ points: 3, retention: 2 })
  t.deepEqual(await settle(t), [])
  t.deepEqual((await get(id)).points, points)
  // What was brought together stands by itself.
  await update(id, { full: true, synthetic: true })
  await settle(t)
  const two = (await get(id)).points
  t.is(two.length, 4)
  await update(id)
  t.deepEqual(await settle(t), points.toReversed())
  t.deepEqual((await get(id)).points.length, 2)
  const { failReason, status, storedBytes } = await get(id)
  t.deepEqual({ failReason, status, storedBytes }, { failReason: null, status: 'available', storedBytes: 800 })
})

test.serial('a deletion takes all points, newest first, and goes on after what stopped it', async (t) => {
  const { id, points } = await backup({ points: 3 })
  await room.points.pin(ADMIN, points[1] ?? '', true)
  await t.throwsAsync(backups.volumeBackups.delete(OPERATOR, id), { ...conflict, message: /pinned/ })
  await room.points.pin(ADMIN, points[1] ?? '', false)
  const { version } = await get(id)
  const stale = { instanceOf: FleetError, code: 'stale' }
  await t.throwsAsync(
    backups.volumeBackups.delete(OPERATOR, id, (now) => now.version === version - 1),
    stale,
  )
  await backups.volumeBackups.delete(OPERATOR, id, (now) => now.version === version)
  t.like(await get(id), { status: 'deleting', failReason: null })
  await backups.volumeBackups.delete(OPERATOR, id)
  await t.throwsAsync(backups.volumeBackups.update(OPERATOR, id), { ...conflict, message: /being deleted/ })
  await t.throwsAsync(backups.volumeBackups.restore(OPERATOR, id, { volume: 'a-pool/none' }), conflict)
  await backups.tick.run()
  t.like(await get(id), { status: 'deleting', failReason: null })
  const [job] = (await room.jobs.list(ADMIN, { kind: 'point.delete' }, { limit: 1 })).items
  await room.fail(job?.id ?? '', { code: 'unavailable', message: 'the target does not answer' })
  t.like(await get(id), { status: 'deleting', failReason: 'the target does not answer' })
  t.deepEqual(await settle(t), [])
  await room.db.query('update volume_backup set look_at = now() where id = $1', [id])
  t.deepEqual(await settle(t), points.toReversed())
  await t.throwsAsync(get(id), { instanceOf: FleetError, code: 'not_found' })
  const [{ left }] = await room.db.query(
    `select count(*)::int as left from point_series where directory like '%' || $1`,
    [id],
  )
  t.is(left, 0)
})

test.serial('what nobody told the end of is put right by the next look', async (t) => {
  const { id } = await backup()
  // The clock was ahead when the other was written.
  for (const at of ['now()', `now() + interval '1 year'`]) {
    await room.db.query(`update volume_backup set status = 'restoring', look_at = ${at} where id = $1`, [id])
    await backups.tick.run()
    t.is((await get(id)).status, 'available')
    t.deepEqual(await room.db.query('select id from volume_backup where look_at is not null and id = $1', [id]), [])
  }
})

test.serial(
  'a volume in use is backed up by force, or from a snapshot; of one that is gone the backup stays',
  async (t) => {
    const { id: volumeId, ...source } = await volume()
    const path = pathOf(source)
    const exported = await room.exports.create(OPERATOR, [
      { volume: path, wwn: wwnOf('used'), initiators: [INITIATOR] },
    ])
    for (const jobId of exported.jobIds) await room.exported(jobId)
    const asked = { name: 'x', volume: volumeId, incremental: true }
    const refused = await t.throwsAsync<FleetError>(backups.volumeBackups.create(OPERATOR, asked), conflict)
    t.deepEqual(refused?.blockers, [`export ${wwnOf('used')}`])
    const attached = await volume()
    await room.db.query(
      `insert into volume_attachment (id, volume_id, host_name, mode) values (gen_random_uuid(), $1, 'web-1', 'rw')`,
      [attached.id],
    )
    const taken = backups.volumeBackups.create(OPERATOR, { name: 'x', volume: attached.id })
    t.deepEqual((await t.throwsAsync<FleetError>(taken, conflict))?.blockers, ['server web-1'])
    const made = await backups.volumeBackups.create(OPERATOR, { ...asked, force: true })
    await room.succeed(made.jobId, MADE)
    await room.db.query('delete from export where volume = $1', [path])
    await room.db.query('delete from volume where id = $1', [volumeId])
    const gone = { ...conflict, message: /is gone; the backup can still be restored/ }
    await t.throwsAsync(backups.volumeBackups.update(OPERATOR, made.backup.id), gone)
    const { jobId } = await backups.volumeBackups.restore(OPERATOR, made.backup.id, { volume: path })
    await room.succeed(jobId, { volume: room.made({ pool: 'a-pool', volume: source.name }), bytes: 1 })
  },
)

test.serial('another group sees nothing of it and may do nothing to it', async (t) => {
  const { id, volumeId } = await backup()
  const tenant = room.tenant(await room.group(`blue-${id}`))
  const unknown = { instanceOf: FleetError, code: 'not_found' }
  const { volumeBackups } = backups
  await t.throwsAsync(volumeBackups.get(tenant, id), unknown)
  await t.throwsAsync(volumeBackups.update(tenant, id), unknown)
  await t.throwsAsync(volumeBackups.delete(tenant, id), unknown)
  await t.throwsAsync(volumeBackups.restore(tenant, id, { volume: 'a-pool/theirs' }), unknown)
  await t.throwsAsync(volumeBackups.create(tenant, { name: 'x', volume: volumeId }), unknown)
  t.deepEqual((await volumeBackups.list(tenant, {}, { limit: 10 })).items, [])
  const viewer = { ...OPERATOR, role: 'viewer' } as const
  await t.throwsAsync(volumeBackups.delete(viewer, id), { instanceOf: FleetError, code: 'forbidden' })
})

test.serial('of two updates at once one is made, and a repeat under a key is the first', async (t) => {
  const { id } = await backup()
  const two = await Promise.allSettled([
    backups.volumeBackups.update(OPERATOR, id),
    backups.volumeBackups.update(OPERATOR, id),
  ])
  t.deepEqual(two.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  const keys = createIdempotencyStore(room.sql)
  const hash = newId().replaceAll('-', '').padEnd(64, '0')
  const { id: source } = await volume()
  async function keyed() {
    const holder = newId()
    let n = 0
    await keys.hold({ hash, fingerprints: ['f'.repeat(64)] }, holder)
    const key = { hash, holder, next: () => n++ }
    const made = await backups.volumeBackups.create({ ...OPERATOR, key }, { name: 'once', volume: source })
    await keys.release({ hash, holder })
    return made.backup.id
  }
  t.is(await keyed(), await keyed())
})

test.serial('a backup of an instance has its parts to itself', async (t) => {
  const { id: volumeId, ...source } = await volume()
  const instanceBackupId = newId()
  const made = await backups.volumeBackups.create(OPERATOR, {
    name: 'part',
    volume: volumeId,
    incremental: true,
    instanceBackupId,
  })
  await room.succeed(made.jobId, MADE)
  const { id } = made.backup
  const refused = await t.throwsAsync<FleetError>(backups.volumeBackups.delete(OPERATOR, id), conflict)
  t.deepEqual(refused?.blockers, [`instance backup ${instanceBackupId}`])
  const path = await room.snapshot(pathOf(source), 'instant')
  const [{ id: snapshot }] = await room.db.query('select id from volume_snapshot where path = $1', [path])
  const { jobId } = await backups.volumeBackups.update(OPERATOR, id, undefined, { instanceBackupId, snapshot })
  t.like((await room.sent(jobId)).spec, { source: { snapshot: 'instant' } })
  await room.succeed(jobId, { ...MADE, full: false })
  await backups.volumeBackups.delete(OPERATOR, id, undefined, instanceBackupId)
  t.is((await get(id)).status, 'deleting')
})

test.serial('a long list is the one before as long as nothing of it has changed', async (t) => {
  const groupId = await room.group(`long-${newId()}`)
  const tenant = room.tenant(groupId)
  const target = await room.targets.create(tenant, { config: DAV, secret: { password: room.unguessable() } })
  await room.db.query(
    `insert into volume_backup (id, group_id, name, volume_id, volume, target_id, series_id, incremental, retention, asked_bytes, status)
     select gen_random_uuid(), $1, 'b' || n, gen_random_uuid(), 'a-pool/x', $2, gen_random_uuid(), false, 0, 1, 'available'
     from generate_series(1, 1200) n`,
    [groupId, target.id],
  )
  const list = (limit = 1200) => backups.volumeBackups.list(tenant, {}, { limit })
  const first = await list()
  t.deepEqual([first.items.length, first.items[0]?.name, first.nextCursor], [1200, 'b1200', null])
  t.is((await list()).items, first.items)
  const change = async (set: string) => {
    await room.db.query(`update volume_backup set ${set} where group_id = $1 and name = 'b7'`, [groupId])
    return (await list()).items.find(({ name }) => name === 'b7')
  }
  t.is((await change('stored_bytes = 5, version = version + 1'))?.storedBytes, 5)
  t.is((await change(`status = 'creating', version = version + 1`))?.status, 'creating')
  t.not((await list()).items, (await list()).items)
  t.is((await change(`status = 'error', version = version + 1`))?.status, 'error')
  await room.targets.update(tenant, target.id, { config: { ...DAV, name: 'renamed' } })
  t.true((await list()).items.every((backup) => backup.target?.name === 'renamed'))
  await room.db.query(`delete from volume_backup where group_id = $1 and name = 'b7'`, [groupId])
  t.is((await list()).items.length, 1199)
  const page = await list(1000)
  const rest = await backups.volumeBackups.list(tenant, {}, { limit: 1000, cursor: page.nextCursor ?? '' })
  t.deepEqual([page.items.length, rest.items.length, rest.nextCursor], [1000, 199, null])
  t.is((await list(1000)).items, page.items)
  await t.throwsAsync(backups.volumeBackups.list(tenant, {}, { limit: 1, cursor: 'x' }), {
    instanceOf: FleetError,
    code: 'invalid',
  })
})

test.serial('points that went with their host are missed, and what is left of the backup can be deleted', async (t) => {
  const { id } = await backup()
  await room.db.query(`update host set removed_at = now() where name = 'a'`)
  await createRemovalStore(room.sql).forget()
  await backups.tick.run()
  t.like(await get(id), { status: 'error', points: [], failReason: 'it has no point: all were deleted' })
  await backups.volumeBackups.delete(OPERATOR, id)
  await backups.tick.run()
  await t.throwsAsync(get(id), { instanceOf: FleetError, code: 'not_found' })
})
