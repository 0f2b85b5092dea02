import test from 'ava'
import { createIdempotencyStore } from '../control-plane/db/stores/idempotency-store.ts'
import { FleetError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { ADMIN, MADE, newAgeKeys, OPERATOR, openPointRoom, type PointRoom } from './harness/point-room.ts'

const source = { dataset: 'x' }
const conflict = { instanceOf: FleetError, code: 'conflict' }

/** A chain of points of `x`: the first full, the others resting on it. */
async function chainOf(room: PointRoom, length: number, given: { readonly target?: string } = {}, made = {}) {
  const points = []
  for (let n = 0; n < length; n += 1) points.push(await room.point('x', { ...given, incremental: true }, made))
  return points
}

test.serial('a point is ordered for the host of its dataset, and what it came to is kept', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const { jobId, point } = await room.points.create(ADMIN, { source, path: '/alice/daily/', compress: false })
  t.like(point, {
    source: { kind: 'dataset', name: 'x' },
    host: 'a',
    target: null,
    series: 'alice/daily/dataset-backup@x',
    status: 'running',
    chain: [],
    fullReason: null,
    jobId,
    location: `/backups/${room.groupId}/alice/daily/dataset-backup@x/${point.name}`,
  })
  const { spec } = await room.sent(jobId)
  t.like(spec, {
    kind: 'point.create',
    target: { id: null, secretId: null, config: { protocol: 'local', base: `/${room.groupId}` }, recipients: [] },
    name: point.name,
    bases: [],
    consolidate: false,
    compression: 'none',
    about: { source: 'x', group: room.groupId, host: 'a' },
  })
  await room.succeed(jobId, { ...MADE, problemCount: 1, problems: [{ path: 'a\nb', reason: 'changed' }] })
  t.like(await room.points.get(OPERATOR, point.id), {
    status: 'partial',
    storedBytes: 400,
    sourceBytes: 1000,
    problems: [{ path: 'a\nb', reason: 'changed' }],
    location: null,
  })
  t.deepEqual(
    (await room.points.list(ADMIN, {}, { limit: 10 })).items.map(({ id, problems }) => [id, problems]),
    [[point.id, []]],
  )
})

test.serial('a point whose job failed tells why, rests on nothing and can be tried again', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const good = await room.point('x')
  const { jobId, point } = await room.points.create(ADMIN, { source, incremental: true })
  t.deepEqual(point.chain, [good.id])
  await room.fail(jobId, { code: 'no_space', message: 'the target is full' })
  t.like(await room.points.get(ADMIN, point.id), {
    status: 'failed',
    error: { code: 'no_space', message: 'the target is full' },
    chain: [],
  })
  const again = await room.jobs.retry(ADMIN, jobId)
  t.like(again, { kind: 'point.create', retryOf: jobId })
  t.deepEqual(again.spec.kind === 'point.create' && again.spec.bases.map(({ id }) => id), [good.id])
  for (const work of [room.points.verify, room.points.rehearse]) await t.throwsAsync(work(ADMIN, point.id), conflict)
  await t.throwsAsync(room.points.files(ADMIN, point.id, { path: '', limit: 1 }), conflict)
})

test.serial('what a restore finds damaged is told, and nothing is built on it', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const { id } = await room.point('x')
  const request = { destination: { newDataset: 'y' } }
  const full = await room.points.restore(ADMIN, id, request)
  await room.fail(full.jobId, { code: 'no_space', message: 'the pool is full' })
  t.is((await room.points.get(ADMIN, id)).damage, null)
  const { jobId } = await room.points.restore(ADMIN, id, request)
  await room.fail(jobId, { code: 'corrupt', message: "member 'a': its content does not match its recorded hash" })
  t.like(await room.points.get(ADMIN, id), { status: 'good', damage: { members: [] } })
  const next = await room.point('x', { incremental: true })
  t.deepEqual(next.chain, [])
  t.regex(next.fullReason ?? '', /damaged/)
})

test.serial('an increment completes the newest good point, never a partial or damaged one', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const first = await room.point('x', { incremental: true })
  t.is(first.fullReason, 'there is no good point to complete')
  const second = await room.point('x', { incremental: true })
  t.deepEqual(second.chain, [first.id])
  await room.point('x', { incremental: true }, { problemCount: 2 })
  const third = await room.point('x', { incremental: true })
  t.deepEqual(third.chain, [first.id, second.id])

  const { jobId } = await room.points.verify(ADMIN, first.id)
  await room.fail(jobId, { code: 'corrupt', message: 'damaged', members: ['etc/passwd'] })
  t.like(await room.points.get(ADMIN, first.id), { damage: { members: ['etc/passwd'] }, verifiedAt: null })
  const afterDamage = await room.point('x', { incremental: true })
  t.deepEqual(afterDamage.chain, [])
  t.regex(afterDamage.fullReason ?? '', /damaged/)
  const healed = await room.points.verify(ADMIN, first.id)
  await room.succeed(healed.jobId, { files: 1, bytes: 1 })
  t.like(await room.points.get(ADMIN, first.id), { damage: null })
  t.truthy((await room.points.get(ADMIN, first.id)).verifiedAt)

  const rehearsal = await room.points.rehearse(ADMIN, third.id)
  const { spec } = await room.sent(rehearsal.jobId)
  t.deepEqual(spec.kind === 'point.rehearse' && [spec.pool, spec.chain.map(({ id }) => id)], [
    'a-pool',
    [first.id, second.id, third.id],
  ])
  await room.succeed(rehearsal.jobId, { files: 1, bytes: 1, seconds: 2.5 })
  t.like(await room.points.get(ADMIN, third.id), { recoverySeconds: 2.5 })
})

test.serial('a chain that is long enough is brought together, and what it was made of can then go', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const chain = await chainOf(room, 16)
  const { jobId, point } = await room.points.create(ADMIN, { source, incremental: true })
  const { spec } = await room.sent(jobId)
  t.like(spec, { consolidate: true, fullReason: null })
  t.is(point.chain.length, 16)
  const last = chain.at(-1)?.id ?? ''
  await t.throwsAsync(room.points.delete(ADMIN, last), conflict)
  await room.succeed(jobId, { ...MADE, synthetic: true })
  t.like(await room.points.get(ADMIN, point.id), { chain: [], synthetic: true })
  await t.notThrowsAsync(room.points.delete(ADMIN, last))
})

test.serial(
  'what is encrypted without a key here is not brought together: the next is full, and says so',
  async (t) => {
    const room = await openPointRoom(t)
    await room.dataset('x')
    const { recipient } = newAgeKeys()
    const config = { name: 'nas', protocol: 'webdav', host: 'nas.test', port: 80, encrypt: false, username: 'u' }
    const { id: target } = await room.targets.create(ADMIN, { config, secret: {}, recipients: [recipient] })
    await chainOf(room, 16, { target }, { encrypted: true })
    const { jobId, point } = await room.points.create(ADMIN, { source, target, incremental: true })
    t.deepEqual(point.chain, [])
    t.regex(point.fullReason ?? '', /without their key/)
    t.like((await room.sent(jobId)).spec, { consolidate: false, bases: [], target: { recipients: [recipient] } })
  },
)

test.serial('orders of one second take names that follow each other, whichever replica takes them', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const planes = [room, room.plane()]
  const made = await Promise.all(
    Array.from({ length: 8 }, (_, n) => planes[n % 2]?.points.create(ADMIN, { source }) ?? Promise.reject()),
  )
  const names = made.map(({ point }) => point.name)
  t.is(new Set(names).size, 8)
  t.true(names.every((name) => /^\d{8}T\d{6}Z$/.test(name)))
  const [{ n }] = await room.db.query('select count(*)::int as n from point_series')
  t.is(n, 1)
  const states = await Promise.all(made.map(async ({ jobId }) => (await room.jobs.get(ADMIN, jobId)).state))
  t.deepEqual(states.toSorted(), [...Array(1).fill('dispatched'), ...Array(7).fill('queued')])
})

test.serial('a repeat under one key finds the point that the first request ordered', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const [hash, holder] = ['ab'.repeat(32), newId()]
  await createIdempotencyStore(room.sql).hold({ hash, fingerprints: ['cd'.repeat(32)] }, holder)
  const ask = () => {
    let n = 0
    const next = () => n++
    return room.points.create({ ...ADMIN, key: { hash, holder, next } }, { source })
  }
  const first = await ask()
  const again = await ask()
  t.is(again.jobId, first.jobId)
  t.is(again.point.id, first.point.id)
  t.is((await room.points.list(ADMIN, {}, { limit: 9 })).items.length, 1)
})

test.serial('an order that waits for a dataset gets it as soon as the backup has its snapshot', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const { jobId } = await room.points.create(ADMIN, { source })
  const removal = await room.datasets.delete(ADMIN, { name: 'x' })
  t.is((await room.jobs.get(ADMIN, removal.jobId)).state, 'queued')
  await room.tell(jobId, { type: 'start', seq: 1, at: 0 })
  t.is((await room.jobs.get(ADMIN, removal.jobId)).state, 'queued')
  await room.tell(jobId, { type: 'release', seq: 2, at: 0 })
  await room.sent(removal.jobId)
  t.is((await room.jobs.get(ADMIN, jobId)).state, 'running')
  const lanes = await room.db.query('select 1 from lane_hold where job_id = $1', [jobId])
  t.is(lanes.length, 1, 'the series is still its own')
  await room.succeed(jobId, MADE)
  t.is((await room.db.query('select 1 from lane_hold where job_id = $1', [jobId])).length, 0)
})

test.serial('a point goes when nothing rests on it, nobody pinned it and it has been made', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const [full, increment] = await chainOf(room, 2)
  const [id, other] = [full?.id ?? '', increment?.id ?? '']
  t.deepEqual((await t.throwsAsync<FleetError>(room.points.delete(ADMIN, id), conflict))?.blockers, [other])

  const pinned = await room.points.pin(ADMIN, other, true)
  t.true(pinned.pinned)
  t.is((await room.points.pin(ADMIN, other, true)).version, pinned.version)
  await t.throwsAsync(room.points.delete(ADMIN, other), conflict)
  await t.throwsAsync(
    room.points.pin(ADMIN, other, false, ({ version }) => version < pinned.version),
    { code: 'stale' },
  )
  const { version } = await room.points.pin(ADMIN, other, false)
  await t.throwsAsync(
    room.points.delete(ADMIN, other, (current) => current.version < version),
    { code: 'stale' },
  )
  const audited = await room.db.query(`select operation from audit where object_id = $1 and operation like '%pin'`, [
    other,
  ])
  t.deepEqual(
    audited.map(({ operation }: { operation: string }) => operation),
    ['point.pin', 'point.unpin'],
  )

  const failing = await room.points.delete(ADMIN, other, (current) => current.version === version)
  t.true((await room.points.get(ADMIN, other)).isDeleting)
  for (const work of [room.points.verify, room.points.delete]) await t.throwsAsync(work(ADMIN, other), conflict)
  await room.fail(failing.jobId, { code: 'unavailable', message: 'cut off' })
  t.false((await room.points.get(ADMIN, other)).isDeleting)
  const retried = await room.jobs.retry(ADMIN, failing.jobId)
  await room.succeed(retried.id)
  await t.throwsAsync(room.points.get(ADMIN, other), { code: 'not_found' })
  await room.succeed((await room.points.delete(ADMIN, id)).jobId)
  t.deepEqual((await room.points.list(ADMIN, {}, { limit: 10 })).items, [])

  const running = await room.points.create(ADMIN, { source })
  await t.throwsAsync(room.points.delete(ADMIN, running.point.id), conflict)
})

test.serial('a point that is read is not taken away meanwhile', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const point = await room.point('x')
  const verify = await room.points.verify(ADMIN, point.id)
  const removal = await room.points.delete(ADMIN, point.id)
  t.is((await room.jobs.get(ADMIN, removal.jobId)).state, 'queued')
  await room.succeed(verify.jobId, { files: 1, bytes: 1 })
  await room.sent(removal.jobId)
})

test.serial('a directory of a host is backed up where the host allows it, by operators of the fleet', async (t) => {
  const room = await openPointRoom(t)
  const of = (path: string, host = 'a') => ({ source: { host, path } })
  const { point } = await room.points.create(ADMIN, of('/srv/data//shop/'))
  t.like(point, { source: { kind: 'path', path: '/srv/data/shop' }, host: 'a' })
  t.regex(point.series, /^path-backup@srv-data-shop-[0-9a-f]{8}$/)
  const elsewhere = await room.points.create(ADMIN, of('/srv/data/shop', 'b'))
  t.not(elsewhere.point.series, point.series)
  t.is((await room.points.list(ADMIN, { source: 'a:/srv/data/shop' }, { limit: 5 })).items[0]?.id, point.id)
  await t.notThrowsAsync(room.points.create(ADMIN, of('/srv/data')))
  await t.throwsAsync(room.points.create(ADMIN, of('/srv/database')), { code: 'refused' })
  await t.throwsAsync(room.points.create(ADMIN, of('/srv/data/../x')), { code: 'invalid' })
  await t.throwsAsync(room.points.create(OPERATOR, of('/srv/data/shop')), { code: 'refused' })
  await t.throwsAsync(room.points.create(ADMIN, of('/srv/data', 'nobody')), { code: 'not_found' })
  const kept = await t.throwsAsync<FleetError>(room.points.create(ADMIN, of('/srv/data', 'bare')), { code: 'refused' })
  t.is(kept?.field, 'target')
})

test.serial('names that nobody has, hosts that are away and rights that are missing are told', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const point = await room.point('x')
  await t.throwsAsync(room.points.create(ADMIN, { source: { dataset: 'nobody' } }), { code: 'not_found' })
  await t.throwsAsync(room.points.create(ADMIN, { source, target: '17' }), { code: 'not_found' })
  await t.throwsAsync(room.points.create(ADMIN, { source, path: '.trash' }), { code: 'invalid' })
  await t.throwsAsync(room.points.create(ADMIN, { source, path: 'a/../b' }), { code: 'invalid' })
  for (const inside of ['20260101T000000Z', 'backup-metadata', 'image.tar', 'image.tar.age/deeper']) {
    const path = `dataset-backup@b/${inside}`
    await t.throwsAsync(room.points.create(ADMIN, { source, path }), { code: 'invalid', message: /beside points/ })
  }
  await t.throwsAsync(room.points.create({ ...OPERATOR, role: 'viewer' }, { source }), { code: 'forbidden' })
  await t.throwsAsync(room.points.get(ADMIN, 'nonsense'), { code: 'not_found' })
  await t.throwsAsync(room.points.list(ADMIN, {}, { limit: 1, cursor: 'x' }), { code: 'invalid' })
  const other = room.tenant(await room.group('other'))
  await t.throwsAsync(room.points.get(other, point.id), { code: 'not_found' })
  await t.throwsAsync(room.points.verify(other, point.id), { code: 'not_found' })
  await t.throwsAsync(room.points.delete(other, point.id), { code: 'not_found' })
  room.registry.deaf('a')
  await t.throwsAsync(room.points.create(ADMIN, { source }), { code: 'unavailable' })
  await t.throwsAsync(room.points.verify(ADMIN, point.id), { code: 'unavailable' })
  await t.throwsAsync(room.points.delete(ADMIN, point.id), { code: 'unavailable' })
  const making = await room.datasets.create(ADMIN, { name: 'new', host: 'b' })
  await t.throwsAsync(room.points.create(ADMIN, { source: { dataset: 'new' } }), conflict)
  t.truthy(making)
})

test.serial('lists go newest first by pages, and by source, target and status', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  await room.dataset('y')
  const made = [await room.point('x'), await room.point('y'), await room.point('x', {}, { problemCount: 1 })]
  const ids = made.map(({ id }) => id).toReversed()
  const first = await room.points.list(ADMIN, {}, { limit: 2 })
  const second = await room.points.list(ADMIN, {}, { limit: 2, cursor: first.nextCursor ?? '' })
  t.deepEqual(
    [...first.items, ...second.items].map(({ id }) => id),
    ids,
  )
  t.is(second.nextCursor, null)
  const found = async (filter: Parameters<typeof room.points.list>[1]) =>
    (await room.points.list(ADMIN, filter, { limit: 9 })).items.map(({ id }) => ids.indexOf(id))
  t.deepEqual(await found({ source: 'x' }), [0, 2])
  t.deepEqual(await found({ source: 'x', status: 'good' }), [2])
  t.deepEqual(await found({ target: 'local' }), [0, 1, 2])
  t.deepEqual(await found({ target: '01900000-0000-7000-8000-00000000000a' }), [])
  t.deepEqual(await found({ target: 'nonsense' }), [])
})
