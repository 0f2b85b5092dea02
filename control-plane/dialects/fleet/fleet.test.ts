import test from 'ava'
import { FAKE_HOST, fakeJob } from '../../../test/harness/fake-core.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { until } from '../../../test/harness/until.ts'
import { HostPage, JobView, PoolView } from './schemas.ts'

const JOB_ID = '01900000-0000-7000-8000-0000000000aa'

test('hosts and pools by id and by name', async (t) => {
  const { ask } = await startListener(t)
  const list = await ask('GET', '/api/v1/hosts')
  t.notThrows(() => HostPage.parse(list.json))
  t.is(list.json.items[0].pools[0].free_bytes, 400)
  for (const id of [FAKE_HOST.id, 'host-a']) t.is((await ask('GET', `/api/v1/hosts/${id}`)).json.name, 'host-a')
  t.like(await ask('GET', '/api/v1/hosts/nope'), { status: 404, json: { error: { code: 'not_found' } } })
  const pool = await ask('GET', '/api/v1/pools/tank')
  t.notThrows(() => PoolView.parse(pool.json))
  t.like(pool.json, { name: 'tank', capabilities: { enforces_readonly: true } })
  t.is((await ask('GET', '/api/v1/pools/nope')).status, 404)
  t.is((await ask('GET', '/api/v1/pools')).json.items.length, 1)
})

test('hosts are enrolled, drained and removed by those who may', async (t) => {
  const { ask } = await startListener(t)
  const made = await ask('POST', '/api/v1/hosts/enrolments', { body: { name: 'host-a' } })
  t.like(made, { status: 201, json: { name: 'host-a', token: 'enrolment-token', replaces: true } })
  t.is((await ask('POST', '/api/v1/hosts/enrolments', { body: { name: 'host-a' }, as: 'operator' })).status, 403)
  t.is((await ask('POST', '/api/v1/hosts/enrolments', { body: { name: 'No Name' } })).json.error.field, 'name')
  const keys = { nats_public_key: `U${'A'.repeat(55)}`, seal_public_key: Buffer.alloc(32).toString('base64') }
  const enrol = (body: object) => ask('POST', '/api/v1/hosts/enrol', { as: null, body })
  t.like(await enrol({ token: 'enrolment-token', ...keys }), { status: 200, json: { host: 'host-a', jwt: 'jwt' } })
  t.is((await enrol({ token: 'other', ...keys })).status, 401)
  t.is(
    (await enrol({ token: 'enrolment-token', ...keys, seal_public_key: 'AAAA' })).json.error.field,
    'seal_public_key',
  )
  t.like(await ask('POST', '/api/v1/hosts/host-a/drain', { as: 'operator' }), { status: 200, json: { draining: true } })
  t.like(await ask('DELETE', '/api/v1/hosts/host-a/drain'), { status: 200, json: { draining: false } })
  t.is((await ask('POST', '/api/v1/hosts/host-a/rotate')).status, 202)
  t.is((await ask('POST', '/api/v1/hosts/host-a/revoke')).status, 200)
  t.deepEqual((await ask('DELETE', '/api/v1/hosts/host-a')).json.error.blockers, ['dataset root'])
  t.like(await ask('DELETE', '/api/v1/hosts/host-a?force=true'), { status: 200, json: { forgotten_datasets: 1 } })
  t.is((await ask('DELETE', '/api/v1/hosts/host-a', { as: 'operator' })).status, 403)
})

test('a job shows everything in snake case and nothing of its spec', async (t) => {
  const { ask, fake } = await startListener(t)
  const progress = { phase: 'copy', percent: 40, files: 1, totalFiles: 4, bytes: 10, totalBytes: 40 }
  const subject = { id: JOB_ID, name: 'data' }
  fake.jobs.set(JOB_ID, fakeJob({ id: JOB_ID, progress, subject, phases: [{ name: 'prepare', seconds: 0.5 }] }))
  const { status, json } = await ask('GET', `/api/v1/jobs/${JOB_ID}`)
  t.is(status, 200)
  t.notThrows(() => JobView.parse(json))
  t.deepEqual(json, {
    id: JOB_ID,
    kind: 'dataset.create',
    state: 'running',
    progress: { phase: 'copy', files: 1, total_files: 4, bytes: 10, total_bytes: 40 },
    percent: 40,
    phases: [{ name: 'prepare', seconds: 0.5 }],
    error: null,
    host: 'host-a',
    attempt: 1,
    dataset: { id: JOB_ID, name: 'data' },
    instance_id: null,
    result: null,
    retry_of: null,
    created_by: 'test',
    created_at: '2026-01-02T03:04:05.678Z',
    started_at: null,
    finished_at: null,
  })
})

test('what came of a job tells nobody where volumes lie on their host', async (t) => {
  const { ask, fake } = await startListener(t)
  const volume = { sizeBytes: 1, device: '/srv/pool/x.raw', guid: 'g', cow: true }
  const result = { done: [{ n: 0, volume, reused: false, diverged: false }], errors: [], times: {} }
  fake.jobs.set(JOB_ID, fakeJob({ id: JOB_ID, kind: 'export.create', result }))
  const { json } = await ask('GET', `/api/v1/jobs/${JOB_ID}`, { as: 'operator' })
  t.deepEqual(json.result.done, [
    { n: 0, volume: { sizeBytes: 1, guid: 'g', cow: true }, reused: false, diverged: false },
  ])
})

test('jobs are listed by filter, a page at a time', async (t) => {
  const { ask, fake } = await startListener(t)
  await ask('POST', '/api/v1/datasets', { body: { name: 'a' } })
  await ask('POST', '/api/v1/snapshots', { body: { source: 'a', name: 'b' } })
  fake.jobs.set(JOB_ID, fakeJob({ id: JOB_ID, state: 'queued' }))
  t.is((await ask('GET', '/api/v1/jobs')).json.items.length, 3)
  t.is((await ask('GET', '/api/v1/jobs?state=succeeded,failed')).json.items.length, 2)
  t.is((await ask('GET', '/api/v1/jobs?kind=snapshot.create')).json.items.length, 1)
  const page = await ask('GET', '/api/v1/jobs?limit=2')
  t.is(page.json.items.length, 2)
  t.is(page.json.next_cursor, 'more')
})

test('cancel and retry answer 202 with the job to watch', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.jobs.set(JOB_ID, fakeJob({ id: JOB_ID }))
  const cancelled = await ask('POST', `/api/v1/jobs/${JOB_ID}/cancel`)
  t.like(cancelled, { status: 202, json: { id: JOB_ID, state: 'cancelling' } })
  t.is(cancelled.headers.get('x-job-id'), JOB_ID)
  const retried = await ask('POST', `/api/v1/jobs/${JOB_ID}/retry`)
  t.like(retried, { status: 202, json: { retry_of: JOB_ID } })
  t.is(retried.headers.get('x-job-id'), retried.json.id)
  fake.jobs.set(JOB_ID, fakeJob({ id: JOB_ID, state: 'succeeded' }))
  t.like(await ask('POST', `/api/v1/jobs/${JOB_ID}/cancel`), { status: 409, json: { error: { code: 'conflict' } } })
})

test('readyz is 503 with the same body while something is down', async (t) => {
  const { ask, readiness } = await startListener(t)
  t.like(await ask('GET', '/readyz', { as: null }), { status: 200, json: readiness })
  readiness.nats = false
  t.like(await ask('GET', '/readyz', { as: null }), {
    status: 503,
    json: { postgres: true, nats: false, ingest: true },
  })
  t.is((await ask('GET', '/healthz', { as: null })).status, 200)
})

test('metrics are for viewers and count requests by pattern', async (t) => {
  const { ask } = await startListener(t)
  await ask('GET', '/api/v1/datasets/root')
  const { headers, text } = await ask('GET', '/metrics', { as: 'viewer' })
  t.regex(headers.get('content-type') ?? '', /^text\/plain/)
  t.regex(text, /holdfast_http_request_seconds_count\{.*route="\/api\/v1\/datasets\/:name".*\} 1/)
})

test('a long poll answers at once with what is there, and says where to resume', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.publish({ type: 'host.online' })
  fake.publish({ type: 'host.offline' })
  const first = await ask('GET', '/api/v1/events?since=0&limit=1')
  t.like(first.json, { items: [{ seq: 1, type: 'host.online' }], next_cursor: 1 })
  const second = await ask('GET', `/api/v1/events?since=${first.json.next_cursor}`)
  t.like(second.json, { items: [{ seq: 2 }], next_cursor: 2 })
})

test('a long poll without since waits for what comes next, and ends empty in time', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.publish({ type: 'host.online' })
  const poll = ask('GET', '/api/v1/events?timeout=20')
  await until('a follower', () => fake.followers() > 0)
  fake.publish({ type: 'host.offline' })
  t.deepEqual(
    (await poll).json.items.map(({ type }: { type: string }) => type),
    ['host.offline'],
  )
  t.like((await ask('GET', '/api/v1/events?timeout=0')).json, { items: [], next_cursor: 2 })
})

test('a point that is too old is 410, one that is ahead or no number is 400', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.publish({ type: 'a' })
  fake.publish({ type: 'b' })
  fake.prune(1)
  for (const headers of [{}, { accept: 'text/event-stream' }]) {
    const askSince = (since: string) => ask('GET', `/api/v1/events?since=${since}`, { headers })
    t.like(await askSince('0'), { status: 410, json: { error: { code: 'expired' } } })
    t.like(await askSince('9'), { status: 400, json: { error: { code: 'invalid', field: 'since' } } })
    t.like(await askSince('x'), { status: 400, json: { error: { code: 'invalid', field: 'since' } } })
    t.like(await askSince('-1'), { status: 400, json: { error: { code: 'invalid', field: 'since' } } })
  }
})

test('a long poll whose credential ends hears nothing of what comes after', async (t) => {
  const { ask, credentials, fake } = await startListener(t)
  const poll = ask('GET', '/api/v1/events?timeout=20')
  await until('a poll', () => fake.followers() === 1)
  credentials.revoke()
  fake.publish({ type: 'secret' })
  t.like(await poll, { status: 401, json: { error: { code: 'unauthorized' } } })
})
