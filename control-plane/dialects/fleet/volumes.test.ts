import test from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { fakeVolume } from '../../../test/harness/fake-volumes.ts'
import {
  RollbackAccepted,
  StandingVolumePage,
  VolumePage,
  VolumeSnapshotPage,
  VolumeSnapshotView,
  VolumeView,
} from './volume-schemas.ts'

const MIB = 2 ** 20
const VOLUMES = '/api/v1/volumes'
const at = (path: string, rest = '') => `${VOLUMES}/${encodeURIComponent(path)}${rest}`

test('a volume is there when it is answered, and its device is for admins of the fleet', async (t) => {
  const { ask } = await startListener(t)
  const body = { name: 'node/disk-1', size_bytes: MIB, create_parent: true }
  const made = await ask('POST', VOLUMES, { body, as: 'operator' })
  t.is(made.status, 201, made.text)
  t.notThrows(() => VolumeView.parse(made.json))
  t.truthy(made.headers.get('x-job-id'))
  const shown = await ask('GET', at('tank/node/disk-1'))
  t.deepEqual(shown.json, {
    id: made.json.id,
    group_id: made.json.group_id,
    name: 'node/disk-1',
    path: 'tank/node/disk-1',
    size_bytes: MIB,
    state: 'available',
    host: 'host-a',
    pool: 'tank',
    driver: 'sim',
    device: '/tank/a.img',
    origin: null,
    created_at: '2026-01-02T03:04:05.678Z',
  })
  t.is(shown.headers.get('etag'), made.headers.get('etag'))
  t.is(made.json.device, null)
  t.is((await ask('GET', `${VOLUMES}/${made.json.id}`)).json.path, 'tank/node/disk-1')
  const unchanged = { 'if-none-match': shown.headers.get('etag') ?? '' }
  t.is((await ask('GET', at('tank/node/disk-1'), { headers: unchanged })).status, 304)
  t.is((await ask('POST', VOLUMES, { body })).json.error.code, 'exists')
  t.is((await ask('POST', VOLUMES, { body, as: 'viewer' })).status, 403)
  t.is((await ask('GET', at('tank/none'))).status, 404)
})

test('what cannot be meant is told by its field', async (t) => {
  const { ask } = await startListener(t)
  const refused = async (path: string, body: object) => {
    const { status, json } = await ask('POST', path, { body })
    return [status, json.error.field]
  }
  t.deepEqual(await refused(VOLUMES, { name: '../a', size_bytes: MIB }), [400, 'name'])
  t.deepEqual(await refused(VOLUMES, { name: 'a', size_bytes: 512 }), [400, 'size_bytes'])
  t.deepEqual(await refused(VOLUMES, { name: 'a', size_bytes: `${MIB}` }), [400, 'size_bytes'])
  t.deepEqual(await refused(VOLUMES, { name: 'a', size_bytes: MIB, pool: 'none' }), [404, 'pool'])
  await ask('POST', VOLUMES, { body: { name: 'a', size_bytes: MIB } })
  t.deepEqual(await refused(at('tank/a', '/snapshots'), { name: 'a@b' }), [400, 'name'])
  t.deepEqual(await refused(at('tank/a', '/clone'), { name: 'b' }), [400, 'snapshot'])
  t.deepEqual(await refused(at('tank/a@s', '/clone'), { name: 'b', snapshot: 's' }), [400, 'snapshot'])
})

test('volumes are listed page by page, and by pool and host', async (t) => {
  const { ask, fake } = await startListener(t)
  for (const name of ['c', 'a', 'b']) fake.volumes.set(`tank/${name}`, fakeVolume({ name }))
  fake.volumes.set('other/d', fakeVolume({ name: 'd', pool: 'other', host: 'host-b' }))
  const page = async (query: string) => VolumePage.parse((await ask('GET', `${VOLUMES}?${query}`)).json)
  const paths = async (query: string) => (await page(query)).items.map((one) => VolumeView.parse(one).path)
  t.deepEqual(await paths('pool=tank'), ['tank/a', 'tank/b', 'tank/c'])
  t.deepEqual(await paths('host=host-b'), ['other/d'])
  const first = await page('limit=3')
  t.is(first.items.length, 3)
  t.deepEqual(await paths(`limit=3&cursor=${first.next_cursor}`), ['tank/c'])
  const standing = await ask('GET', '/api/v1/pools/tank/volumes')
  t.is(StandingVolumePage.parse(standing.json).items.length, 4)
  t.is((await ask('GET', '/api/v1/pools/none/volumes')).status, 404)
})

test('a volume grows under the condition that it is what was seen, and never becomes smaller', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.volumes.set('tank/a', fakeVolume())
  const etag = (await ask('GET', at('tank/a'))).headers.get('etag') ?? ''
  const body = { size_bytes: 2 * MIB }
  t.is((await ask('PATCH', at('tank/a'), { body, headers: { 'if-match': '"other.1"' } })).status, 412)
  const grown = await ask('PATCH', at('tank/a'), { body, headers: { 'if-match': etag } })
  t.is(grown.status, 200, grown.text)
  t.is(grown.json.size_bytes, 2 * MIB)
  t.is((await ask('PATCH', at('tank/a'), { body, headers: { 'if-match': etag } })).status, 412)
  const { id } = grown.json
  t.like((await ask('PATCH', at(id), { body: { size_bytes: MIB } })).json.error, { code: 'conflict' })
  t.is((await ask('DELETE', at(id))).status, 204)
})

test('snapshots and clones rest on each other, and what they rest on is not deleted', async (t) => {
  const { ask } = await startListener(t)
  await ask('POST', VOLUMES, { body: { name: 'a', size_bytes: MIB } })
  const taken = await ask('POST', at('tank/a', '/snapshots'), { body: { name: 's' } })
  t.is(taken.status, 201, taken.text)
  t.like(VolumeSnapshotView.parse(taken.json), { name: 's', path: 'tank/a@s', state: 'available', size_bytes: MIB })
  const cloned = await ask('POST', at('tank/a', '/clone'), { body: { name: 'b', snapshot: 's' } })
  t.is(cloned.status, 201, cloned.text)
  t.like(cloned.json, { path: 'tank/b', origin: 'tank/a@s' })
  t.is((await ask('POST', at('tank/a@s', '/clone'), { body: { name: 'c' } })).status, 201)
  t.is((await ask('POST', at(taken.json.volume_id, '/clone'), { body: { name: 'd', snapshot: 's' } })).status, 201)
  const { json } = await ask('GET', at('tank/a', '/snapshots'))
  t.deepEqual(VolumeSnapshotPage.parse(json).items, [taken.json])

  const kept = await ask('DELETE', at('tank/a', '/snapshots/s'))
  t.is(kept.status, 409)
  t.deepEqual(kept.json.error.blockers, ['volume tank/b', 'volume tank/c', 'volume tank/d'])
  t.true((await ask('DELETE', at('tank/a'))).json.error.blockers.includes('snapshot tank/a@s'))
  for (const name of ['b', 'c', 'd']) t.is((await ask('DELETE', at(`tank/${name}`))).status, 204)
  const gone = await ask('DELETE', at('tank/a', '/snapshots/s'))
  t.deepEqual([gone.status, gone.text], [204, ''])
  t.truthy(gone.headers.get('x-job-id'))
  t.is((await ask('DELETE', at('tank/a', '/snapshots/s'))).status, 404)
  t.is((await ask('DELETE', at('tank/a'), { headers: { 'if-match': '"other.1"' } })).status, 412)
  t.is((await ask('DELETE', at('tank/a'))).status, 204)
})

test('a volume becomes what it was at a snapshot, and what it was before is another', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.volumes.set('tank/a', fakeVolume())
  await ask('POST', at('tank/a', '/snapshots'), { body: { name: 's' } })
  const back = await ask('POST', at('tank/a', '/rollback'), { body: { snapshot: 's' } })
  t.is(back.status, 202, back.text)
  const { job_id: jobId, safety } = RollbackAccepted.parse(back.json)
  t.is(back.headers.get('x-job-id'), jobId)
  t.is(fake.jobs.get(jobId)?.kind, 'volume.rollback')
  t.like(safety, { state: 'creating', path: `tank/a@${safety.name}` })
  const { items } = (await ask('GET', at('tank/a', '/snapshots'))).json
  t.deepEqual(
    items.map(({ name }: { name: string }) => name),
    ['s', safety.name],
  )
  t.is((await ask('POST', at('tank/a', '/rollback'), { body: { snapshot: 'none' } })).status, 404)
  t.is((await ask('POST', at('tank/a', '/rollback'), { body: {} })).json.error.field, 'snapshot')
  t.is((await ask('POST', at('tank/a', '/rollback'), { body: { snapshot: 's' }, as: 'viewer' })).status, 403)
})

test('what a host finds in the way is the answer, with its job; so is a host that is silent', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.volumes.set('tank/a', fakeVolume())
  fake.failNextJob = new FleetError('conflict', "'a' has clones", { blockers: ['by-hand'] })
  const kept = await ask('DELETE', at('tank/a'))
  t.is(kept.status, 409)
  t.like(kept.json.error, { code: 'conflict', message: "'a' has clones" })
  t.truthy(fake.jobs.get(kept.headers.get('x-job-id') ?? ''))
  fake.refuseNext = new FleetError('unavailable', "host 'host-a' is offline")
  t.is((await ask('POST', at('tank/a', '/snapshots'), { body: { name: 's' } })).status, 503)
  fake.failNextJob = new FleetError('no_space', 'the pool is full')
  t.is((await ask('POST', VOLUMES, { body: { name: 'b', size_bytes: MIB } })).status, 507)
  fake.failNextJob = new FleetError('timeout', 'the work takes longer')
  const late = await ask('POST', VOLUMES, { body: { name: 'b', size_bytes: MIB } })
  t.is(late.status, 504)
  t.regex(late.json.error.message, /goes on, see GET \/api\/v1\/jobs\//)
})
