import test from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { fakeBatch, fakeExport } from '../../../test/harness/fake-exports.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { fakeVolume } from '../../../test/harness/fake-volumes.ts'
import { ExportBatchView, ExportPage, ExportView } from './export-schemas.ts'

const WWN = 'iqn.2026-01.test:a'
const INITIATOR = 'iqn.2026-01.test:initiator'
const EXPORTS = '/api/v1/exports'
const BATCHES = '/api/v1/export-batches'
const SECRET = 'a-secret-of-chap'

test('an export tells its target, its portal, who may log in and who has', async (t) => {
  const { ask, fake } = await startListener(t)
  const one = fakeExport({ chapUser: 'node' })
  fake.exports.set(one.wwn, one)
  fake.liveExport = { portal: '10.0.0.1:3260', lun: 1, sessions: [{ initiator: INITIATOR, address: '10.0.0.2:40000' }] }
  const { json, headers } = await ask('GET', `${EXPORTS}/${one.id}`)
  t.notThrows(() => ExportView.parse(json))
  t.deepEqual(json, {
    id: one.id,
    group_id: one.groupId,
    target: WWN,
    lun: 1,
    volume: 'tank/a',
    host: 'host-a',
    portal: '10.0.0.1:3260',
    standing: true,
    initiators: [INITIATOR],
    chap_user: 'node',
    readonly: false,
    sessions: [{ initiator: INITIATOR, address: '10.0.0.2:40000' }],
    state: 'available',
    created_at: '2026-01-02T03:04:05.678Z',
  })
  const unchanged = { 'if-none-match': headers.get('etag') ?? '' }
  t.is((await ask('GET', `${EXPORTS}/${encodeURIComponent(WWN)}`, { headers: unchanged })).status, 304)
  fake.liveExport = undefined
  t.like((await ask('GET', `${EXPORTS}/${WWN}`)).json, { lun: null, portal: null, standing: null, sessions: null })
  t.is(ExportPage.parse((await ask('GET', `${EXPORTS}?volume=tank%2Fa&host=host-a`)).json).items.length, 1)
  t.is(ExportPage.parse((await ask('GET', `${EXPORTS}?host=other`)).json).items.length, 0)
  t.is((await ask('GET', `${EXPORTS}/none`)).status, 404)
})

test('an export is there when it is answered, and its secret is never told', async (t) => {
  const { ask, fake, lines } = await startListener(t)
  fake.volumes.set('tank/a', fakeVolume())
  const chap = { user: 'node', secret: SECRET }
  const body = { volume: 'tank/a', wwn: WWN.toUpperCase().replace('IQN', 'iqn'), initiators: [INITIATOR], chap }
  const made = await ask('POST', EXPORTS, { body, as: 'operator' })
  t.is(made.status, 201, made.text)
  t.like(made.json, { target: WWN, volume: 'tank/a', chap_user: 'node' })
  t.truthy(made.headers.get('x-job-id'))
  t.is(fake.chapSecrets.get(WWN), SECRET)
  for (const path of [EXPORTS, `${EXPORTS}/${WWN}`]) t.false((await ask('GET', path)).text.includes(SECRET))
  t.false(JSON.stringify(lines).includes(SECRET))
  const other = { ...body, volume: 'other/a', wwn: `${WWN}-2` }
  t.is((await ask('POST', EXPORTS, { body: other })).status, 404)
  t.is((await ask('POST', EXPORTS, { body, as: 'viewer' })).status, 403)
})

test('an export to everybody, or under no iSCSI name, is told by its field', async (t) => {
  const { ask } = await startListener(t)
  const right = { volume: 'tank/a', wwn: WWN, initiators: [INITIATOR] }
  const fieldOf = async (path: string, body: object) => {
    const { status, json } = await ask('POST', path, { body })
    t.is(status, 400)
    return json.error.field
  }
  t.is(await fieldOf(EXPORTS, { ...right, initiators: [] }), 'initiators')
  t.is(await fieldOf(EXPORTS, { ...right, initiators: ['somebody'] }), 'initiators.0')
  t.is(await fieldOf(EXPORTS, { ...right, wwn: 'iqn.2026-13.test:a' }), 'wwn')
  t.is(await fieldOf(EXPORTS, { ...right, chap: { user: 'node', secret: 'short' } }), 'chap.secret')
  t.is(await fieldOf(EXPORTS, { ...right, chap: { user: 'two words', secret: SECRET } }), 'chap.user')
  t.is(await fieldOf(BATCHES, { create: [right, { ...right, wwn: 'x' }] }), 'create.1.wwn')
  t.is((await ask('POST', BATCHES, { body: {} })).status, 400)
  t.is((await ask('POST', BATCHES, { body: { create: [right], delete: [right] } })).status, 400)
})

test('an export that somebody uses is removed by force only', async (t) => {
  const { ask, fake, core } = await startListener(t)
  fake.exports.set(WWN, fakeExport())
  fake.volumes.set('tank/a', fakeVolume())
  fake.liveExport = { lun: 0, portal: '', sessions: [{ initiator: INITIATOR, address: '' }] }
  const asked: unknown[] = []
  const { remove } = core.exports
  core.exports.remove = async (caller, elements) => {
    asked.push(...elements)
    const accepted = await remove(caller, elements)
    const [element] = elements
    if (element?.force) return accepted
    fake.exports.set(WWN, fakeExport())
    const errors = [{ n: 0, code: 'conflict', message: 'in use' }]
    fake.batches.set(accepted.batchId, fakeBatch({ type: 'delete', done: [], errors }))
    return accepted
  }
  const kept = await ask('DELETE', `${EXPORTS}/${WWN}`)
  t.is(kept.status, 409)
  t.deepEqual(kept.json.error, { code: 'conflict', message: 'in use', blockers: [INITIATOR] })
  t.truthy(kept.headers.get('x-job-id'))
  const { headers } = await ask('GET', `${EXPORTS}/${WWN}`)
  const etag = headers.get('etag') ?? ''
  const { liveExport } = fake
  fake.liveExport = { ...liveExport, sessions: [] }
  const forced = { headers: { 'if-match': etag } }
  t.is((await ask('DELETE', `${EXPORTS}/${WWN}?force=true&delete_volume=true`, forced)).status, 412)
  fake.liveExport = liveExport
  const gone = await ask('DELETE', `${EXPORTS}/${WWN}?force=true&delete_volume=true`, forced)
  t.is(gone.status, 204, gone.text)
  const expected = { wwn: WWN, volume: 'tank/a' }
  t.deepEqual(asked, [
    { ...expected, force: false, deleteVolume: false },
    { ...expected, force: true, deleteVolume: true, version: 1 },
  ])
  t.is((await ask('DELETE', `${EXPORTS}/${WWN}`)).status, 404)
  t.is((await ask('DELETE', `${EXPORTS}/${WWN}?force=yes`)).json.error.field, 'force')
})

test('a batch names its jobs and tells of each of its elements what became of it', async (t) => {
  const { ask, fake } = await startListener(t)
  const create = ['tank/a', 'none/b'].map((volume, n) => ({ volume, wwn: `${WWN}-${n}`, initiators: [INITIATOR] }))
  const accepted = await ask('POST', BATCHES, { body: { create } })
  t.is(accepted.status, 202, accepted.text)
  const job = accepted.headers.get('x-job-id') ?? ''
  t.truthy(fake.jobs.get(job))
  const { json } = await ask('GET', `${BATCHES}/${accepted.json.id}`)
  t.deepEqual(json, accepted.json)
  const { id: _id, group_id: _group, jobs, times, ...shown } = ExportBatchView.parse(json)
  t.deepEqual(shown, {
    type: 'create',
    phase: 'ended',
    requested: 2,
    passed: shown.passed,
    finished: 2,
    done: [{ n: 0, volume: true, reused: false, diverged: false }],
    errors: [{ n: 1, code: 'not_found', message: "there is no pool 'none'", unexported: false }],
    created_at: '2026-01-02T03:04:05.678Z',
    started_at: '2026-01-02T03:04:05.678Z',
    ended_at: '2026-01-02T03:04:05.778Z',
  })
  t.is(jobs[0]?.id, job)
  t.deepEqual(times, { clone_seconds: 0.25, device_seconds: 0.125, target_seconds: 0.5 })
  const removed = await ask('POST', BATCHES, { body: { delete: [{ volume: 'tank/a', wwn: `${WWN}-0`, force: true }] } })
  t.like(removed.json, { type: 'delete', requested: 1, errors: [] })
  t.is((await ask('GET', `${BATCHES}/01900000-0000-7000-8000-00000000dead`)).status, 404)
  fake.refuseNext = new FleetError('unavailable', 'its host is offline')
  t.is((await ask('POST', BATCHES, { body: { create } })).status, 503)
})
