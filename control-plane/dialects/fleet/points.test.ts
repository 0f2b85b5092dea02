import test from 'ava'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { fakePoint } from '../../../test/harness/fake-points.ts'
import { PointPage, PointView } from './point-schemas.ts'

const ABSENT = '01900000-0000-7000-8000-00000000dead'

test('a point is ordered and named with its job', async (t) => {
  const { ask, fake } = await startListener(t)
  const body = { source: { dataset: 'root' }, path: '/nightly/', incremental: true, compress: false }
  const { status, json, headers } = await ask('POST', '/api/v1/points', { body, as: 'operator' })
  t.is(status, 202)
  t.deepEqual(Object.keys(json), ['id', 'job_id'])
  t.is(headers.get('x-job-id'), json.job_id)
  t.like(fake.created[0], { source: { dataset: 'root' }, path: 'nightly', incremental: true, compress: false })
  await ask('POST', '/api/v1/points', { body: { source: { host: 'host-a', path: '/srv/x' }, target: 'local' } })
  t.like(fake.created[1], { source: { host: 'host-a', path: '/srv/x' }, target: undefined })
  const instance = { instance: 'web', type: 'lxc', host: 'host-a', hold: 'stop' }
  const { json: made } = await ask('POST', '/api/v1/points', { body: { source: instance } })
  t.deepEqual(fake.created[2]?.source, instance)
  const shown = await ask('GET', `/api/v1/points/${made.id}`)
  t.notThrows(() => PointView.parse(shown.json))
  t.like(shown.json.source, { instance: 'web', type: 'lxc' })
  t.is((await ask('GET', '/api/v1/points?source=lxc:web')).json.items.length, 1)
  const volume = { volume: 'tank/v', snapshot: 's1' }
  const ofVolume = await ask('POST', '/api/v1/points', { body: { source: volume } })
  t.deepEqual(fake.created[3]?.source, volume)
  t.like((await ask('GET', `/api/v1/points/${ofVolume.json.id}`)).json.source, volume)
  t.is((await ask('GET', '/api/v1/points?source=tank/v')).json.items.length, 1)
})

test('a source that cannot be meant is refused by name', async (t) => {
  const { ask } = await startListener(t)
  const fieldOf = async (body: object) => {
    const { status, json } = await ask('POST', '/api/v1/points', { body })
    t.is(status, 400)
    return [json.error.field, json.error.message]
  }
  t.deepEqual(await fieldOf({ source: { volume: 'tank/v', host: 'host-a' } }), [
    'source.host',
    "source.host: does not go with 'volume'",
  ])
  t.is((await fieldOf({ source: { dataset: 'a', snapshot: 's' } }))[0], 'source.snapshot')
  t.deepEqual(await fieldOf({ source: { host: 'host-a' } }), ['source.path', 'source.path: is required'])
  t.deepEqual(await fieldOf({ source: { dataset: 'a', host: 'host-a' } }), [
    'source.host',
    "source.host: does not go with 'dataset'",
  ])
  t.deepEqual(await fieldOf({ source: {} }), ['source', 'source: must have one of: dataset, instance, volume, host'])
  t.is((await fieldOf({ source: { host: 'host-a', path: 'srv' } }))[0], 'source.path')
  t.is((await fieldOf({ source: { dataset: 'a', hold: 'pause' } }))[0], 'source.hold')
  t.is((await fieldOf({ source: { instance: 'a', hold: 'tight' } }))[0], 'source.hold')
  t.is((await fieldOf({ source: { dataset: 'a' }, path: '../up' }))[0], 'path')
  t.is((await fieldOf({}))[0], 'source')
  const { json } = await ask('POST', '/api/v1/points', { body: { source: { dataset: 'a' }, target: ABSENT } })
  t.like(json.error, { code: 'not_found', field: 'target' })
})

test('a point shows everything in snake case', async (t) => {
  const { ask, fake } = await startListener(t)
  const base = fakePoint({})
  const at = new Date('2026-01-03T00:00:00.000Z')
  const point = fakePoint({
    chain: [base.id],
    status: 'partial',
    problemCount: 1,
    problems: [{ path: 'a', reason: 'changed while it was read' }],
    damage: { at, members: ['b'] },
    verifiedAt: at,
    rehearsedAt: at,
    recoverySeconds: 1.5,
    fullReason: null,
  })
  fake.points.set(point.id, point)
  const { json, headers } = await ask('GET', `/api/v1/points/${point.id}`)
  t.notThrows(() => PointView.parse(json))
  t.deepEqual(json, {
    id: point.id,
    group_id: point.groupId,
    source: { dataset: 'a', dataset_id: point.groupId },
    host: 'host-a',
    target: null,
    series: 'dataset-backup@a',
    name: '20260102T030405Z',
    status: 'partial',
    deleting: false,
    trashed_at: null,
    returning: false,
    pinned: false,
    chain: [base.id],
    full_reason: null,
    synthetic: false,
    size_bytes: 10,
    source_bytes: 40,
    members: 2,
    consistency: 'crash',
    encrypted: false,
    problem_count: 1,
    problems: [{ path: 'a', reason: 'changed while it was read' }],
    error: null,
    damage: { at: at.toISOString(), members: ['b'] },
    verified_at: at.toISOString(),
    rehearsed_at: at.toISOString(),
    recovery_seconds: 1.5,
    location: { host: 'host-a', path: point.location },
    job_id: point.jobId,
    created_at: '2026-01-02T03:04:05.678Z',
    finished_at: '2026-01-02T03:04:05.678Z',
  })
  const etag = headers.get('etag') ?? ''
  t.is((await ask('GET', `/api/v1/points/${point.id}`, { headers: { 'if-none-match': etag } })).status, 304)
})

test('paths on hosts are for admins of the fleet', async (t) => {
  const { ask, fake } = await startListener(t)
  const point = fakePoint({})
  fake.points.set(point.id, point)
  t.is((await ask('GET', `/api/v1/points/${point.id}`, { as: 'operator' })).json.location, null)
  t.notRegex((await ask('GET', '/api/v1/points', { as: 'viewer' })).text, /\/backups/)
  t.is((await ask('GET', '/api/v1/hosts/host-a')).json.backup_root, '/backups')
  t.like(await ask('GET', '/api/v1/hosts/host-a', { as: 'operator' }), {
    json: { backup_root: null, source_paths: ['/srv/'] },
  })
})

test('points are listed by filter, newest first, a page at a time', async (t) => {
  const { ask, fake } = await startListener(t)
  const directory = fakePoint({ source: { kind: 'path', path: '/srv/x' } })
  const good = fakePoint({})
  const failed = fakePoint({ status: 'failed', target: { id: ABSENT, name: 'site' }, location: null })
  for (const point of [directory, good, failed]) fake.points.set(point.id, point)
  const idsOf = async (query: string) => {
    const { json } = await ask('GET', `/api/v1/points${query}`)
    t.notThrows(() => PointPage.parse(json))
    return json.items.map(({ id }: { id: string }) => id)
  }
  t.deepEqual(await idsOf(''), [failed.id, good.id, directory.id])
  t.deepEqual(await idsOf('?source=host-a:/srv/x'), [directory.id])
  t.deepEqual(await idsOf('?source=a&status=good'), [good.id])
  t.deepEqual(await idsOf('?target=local&limit=1'), [good.id])
  t.deepEqual(await idsOf('?limit=2&cursor=2'), [directory.id])
  t.is((await ask('GET', '/api/v1/points?status=odd')).json.error.field, 'status')
})

test('a pinned point is kept, and so is one that others complete', async (t) => {
  const { ask, fake } = await startListener(t)
  const base = fakePoint({})
  const next = fakePoint({ chain: [base.id] })
  for (const point of [base, next]) fake.points.set(point.id, point)
  const path = `/api/v1/points/${next.id}`
  const pinned = await ask('PUT', `${path}/pin`)
  t.like(pinned, { status: 200, json: { pinned: true } })
  t.is((await ask('DELETE', path)).status, 409)
  t.is((await ask('DELETE', `${path}/pin`, { headers: { 'if-match': '"old"' } })).status, 412)
  const etag = pinned.headers.get('etag') ?? ''
  t.like(await ask('DELETE', `${path}/pin`, { headers: { 'if-match': etag } }), { json: { pinned: false } })
  t.is((await ask('DELETE', path, { headers: { 'if-match': etag } })).status, 412)
  const refused = await ask('DELETE', `/api/v1/points/${base.id}`)
  t.like(refused, { status: 409, json: { error: { code: 'conflict' } } })
  t.deepEqual(refused.json.error.blockers, [next.id])
  const removed = await ask('DELETE', path)
  t.is(removed.status, 202)
  t.is(removed.headers.get('x-job-id'), removed.json.job_id)
})

test('files and differences are read in pages', async (t) => {
  const { ask, fake } = await startListener(t)
  const point = fakePoint({})
  fake.points.set(point.id, point)
  const files = await ask('GET', `/api/v1/points/${point.id}/files?path=/etc/&search=pass`)
  t.is(files.json.next_cursor, null)
  t.like(files.json.items[0], { path: 'etc/passwd', type: 'file', size_bytes: 40, mode: 0o644 })
  t.is((await ask('GET', `/api/v1/points/${point.id}/files?search=nothing`)).json.items.length, 0)
  const { json } = await ask('GET', `/api/v1/points/${point.id}/diff/${point.id}`)
  t.like(json.items[0], { kind: 'added', before: null, after: { path: 'etc/passwd', size_bytes: 40 } })
  t.is((await ask('GET', `/api/v1/points/${point.id}/diff/${ABSENT}`)).status, 404)
  t.is((await ask('GET', `/api/v1/points/${ABSENT}/files`)).status, 404)
})

test('verify, rehearse and restore answer with their job', async (t) => {
  const { ask, fake } = await startListener(t)
  const point = fakePoint({})
  fake.points.set(point.id, point)
  const work = async (name: string, body?: object) => {
    const answer = await ask('POST', `/api/v1/points/${point.id}/${name}`, { body })
    t.is(answer.status, 202, answer.text)
    t.is(answer.headers.get('x-job-id'), answer.json.job_id)
    return fake.jobs.get(answer.json.job_id)?.kind
  }
  t.is(await work('verify'), 'point.verify')
  t.is(await work('rehearse'), 'point.rehearse')
  t.is(await work('restore', { paths: ['/etc/passwd'], destination: { dataset: 'a', path: '/x' } }), 'point.restore')
  await work('restore', { destination: { new_dataset: 'b', pool: 'tank' }, overwrite: false })
  await work('restore', { destination: { host: 'host-a', path: '/tmp/x' } })
  t.like(fake.restored[0], { paths: ['etc/passwd'], destination: { dataset: 'a', path: '/x' } })
  t.like(fake.restored[1], { destination: { newDataset: 'b', pool: 'tank' }, overwrite: false })
  t.like(fake.restored[2], { destination: { host: 'host-a', path: '/tmp/x' } })
  const instance = { instance: 'web', host: 'host-a', start: true, replace: true }
  await work('restore', { destination: instance })
  t.like(fake.restored[3], { destination: instance })
  const volume = { volume: 'tank/back', size_bytes: 2_097_152 }
  t.is(await work('restore', { destination: volume }), 'volume.restore')
  t.deepEqual(fake.volumeRestores, [point.id])
  t.is(fake.volumes.get('tank/back')?.sizeBytes, 2_097_152)
  t.is(await work('restore', { destination: { volume: 'tank/back' }, overwrite: true }), 'volume.restore')
  const nowhere = { volume: 'none/back' }
  t.like((await ask('POST', `/api/v1/points/${point.id}/restore`, { body: { destination: nowhere } })).json.error, {
    field: 'destination.volume',
  })
  const part = await ask('POST', `/api/v1/points/${point.id}/restore`, { body: { destination: volume, paths: ['a'] } })
  t.like(part, { status: 400, json: { error: { field: 'paths' } } })
  for (const [destination, field] of [
    [{ volume: 'tank/v', path: '/x' }, 'destination.path'],
    [{ dataset: 'a', size_bytes: 65_536 }, 'destination.path'],
    [{ new_dataset: 'b', size_bytes: 65_536 }, 'destination.size_bytes'],
    [{ dataset: 'a' }, 'destination.path'],
    [{ new_dataset: 'a', path: '/x' }, 'destination.path'],
    [{ host: 'host-a', path: '/x', pool: 'tank' }, 'destination.pool'],
    [{ new_dataset: 'a', start: true }, 'destination.start'],
    [{ instance: '-web' }, 'destination.instance'],
    [{ path: '/x' }, 'destination'],
  ] as const) {
    const { status, json } = await ask('POST', `/api/v1/points/${point.id}/restore`, { body: { destination } })
    t.is(status, 400)
    t.is(json.error.field, field)
  }
})

test('what was damaged is named by the job that found it', async (t) => {
  const { ask, fake } = await startListener(t)
  const point = fakePoint({})
  fake.points.set(point.id, point)
  const { json } = await ask('POST', `/api/v1/points/${point.id}/verify`)
  const job = fake.jobs.get(json.job_id)
  if (!job) return t.fail('no job')
  const progress = { phase: 'read', bytes: 10, bytesPerSecond: 2048.5, secondsLeft: 3 }
  const error = { code: 'corrupt' as const, message: 'files are damaged', members: ['etc/passwd'] }
  fake.jobs.set(job.id, { ...job, state: 'failed', error, progress })
  const shown = await ask('GET', `/api/v1/jobs/${job.id}`)
  t.deepEqual(shown.json.error, error)
  t.like(shown.json.progress, { bytes_per_second: 2048.5, seconds_left: 3 })
  t.is((await ask('GET', '/api/v1/jobs?kind=point.verify')).json.items.length, 1)
})
