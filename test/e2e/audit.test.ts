import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import test from 'ava'
import { WIRE_VERSION } from '../../shared/wire/messages.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { connectAsControlPlane } from '../harness/backends.ts'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { until } from '../harness/until.ts'

const ROOT = join(import.meta.dirname, '../..')

// biome-ignore lint/suspicious/noExplicitAny: rows as the API shows them
async function rowsOf(fleet: TestFleet, query: string, plane = 0): Promise<any[]> {
  const { status, body } = await fleet.call('GET', `/api/v1/audit?${query}`, undefined, { plane })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return body.items
}

async function holdfast(fleet: TestFleet, words: readonly string[], environment: Record<string, string> = {}) {
  const child = spawn(process.execPath, ['control-plane/cli.ts', ...words], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, DATABASE_URL: fleet.backends.databaseUrl, ...environment },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const [code] = await once(child, 'close')
  return { code, output }
}

test('who did what, from where and how it ended: of every dialect, over both replicas, in one chain', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }], planes: 2 })
  const made = await fleet.call('POST', '/api/v1/datasets', { name: 'one' })
  t.is(made.status, 201, JSON.stringify(made.body))
  const jobId = made.headers.get('x-job-id') ?? ''
  await fleet.ended(jobId)
  const [ended, accepted] = await rowsOf(fleet, `job_id=${jobId}`, 1)
  t.like(accepted, {
    subject: 'token:admin',
    via: 'token',
    address: '127.0.0.1',
    request_id: made.headers.get('x-request-id'),
    method: 'POST',
    path: '/api/v1/datasets',
    operation: 'dataset.create',
    result: 'accepted',
    object: { kind: 'dataset', name: 'one' },
  })
  t.like(ended, { subject: 'host:a', via: 'agent', operation: 'dataset.create', result: 'done', code: null })

  const refusals = [
    ['POST', '/api/v1/datasets', { name: 'one' }, 'zerofs.createDataset', 'exists', undefined],
    ['POST', '/api/v1/datasets', { name: 'a b' }, 'zerofs.createDataset', 'invalid', undefined],
    ['DELETE', '/api/v1/datasets/nope', undefined, 'zerofs.deleteDataset', 'not_found', undefined],
    ['POST', `/api/v1/jobs/${jobId}/cancel`, undefined, 'fleet.cancelJob', 'conflict', undefined],
    ['POST', '/api/v1/datasets', { name: 'two' }, 'zerofs.createDataset', 'unauthorized', 'a'.repeat(64)],
    ['GET', '/api/v1/datasets', undefined, 'zerofs.listDatasets', 'unauthorized', 'a'.repeat(64)],
  ] as const
  for (const [method, path, body, operation, code, token] of refusals) {
    const answer = await fleet.call(method, path, body, { plane: 1, ...(token ? { token } : {}) })
    t.true(answer.status >= 400)
    const [row] = await until('the refusal is there', async () => {
      const rows = await rowsOf(fleet, `request_id=${answer.headers.get('x-request-id')}`)
      return rows.length > 0 ? rows : undefined
    })
    const subject = token === undefined ? 'token:admin' : 'anonymous'
    t.like(row, { subject, operation, code, result: 'refused', method, path, address: '127.0.0.1' })
  }
  t.is((await fleet.call('GET', '/api/v1/audit?result=x')).status, 400)

  const many = Array.from({ length: 40 }, (_, n) =>
    fleet.call('POST', '/api/v1/datasets', { name: `many-${n}` }, { plane: n % 2 }),
  )
  await Promise.all(many)
  await fleet.quiet()
  const keys = { HOLDFAST_SECRETS_KEY: fleet.backends.secretsKey }
  await until(
    'all is linked',
    async () => (await fleet.sql('select 1 from audit where chain_seq is null')).length === 0,
  )
  const good = await holdfast(fleet, ['audit', 'verify', '--json'], keys)
  t.is(good.code, 0, good.output)
  const verdict = JSON.parse(good.output)
  const [{ n }] = await fleet.sql('select count(*)::int as n from audit')
  t.like(verdict, { links: n, mark: 'holds', fault: null, unchained: { rows: 0 } })
  t.like(await holdfast(fleet, ['audit', 'verify']), { code: 0 })
  t.is((await holdfast(fleet, ['audit', 'verify', '--expect', 'x'], keys)).code, 2)
  t.is((await holdfast(fleet, ['audit', 'verify'], { DATABASE_URL: 'postgres://127.0.0.1:1/x' })).code, 2)

  const newest = Buffer.alloc(32, 7).toString('base64')
  const rotated = await holdfast(fleet, ['secrets', 'rotate', '--json'], {
    HOLDFAST_SECRETS_KEY: `${newest},${fleet.backends.secretsKey}`,
  })
  t.is(rotated.code, 0, rotated.output)
  t.like(JSON.parse(rotated.output), { resealed: 1, current: 1, head_marked: true })
  t.is((await holdfast(fleet, ['audit', 'verify'], { HOLDFAST_SECRETS_KEY: newest })).code, 0)
  t.is(
    (await holdfast(fleet, ['secrets', 'rotate'], { HOLDFAST_SECRETS_KEY: Buffer.alloc(32, 9).toString('base64') }))
      .code,
    1,
  )

  await fleet.sql('alter table audit disable trigger user')
  await fleet.sql(`update audit set subject = 'nobody' where chain_seq = 5`)
  const bad = await holdfast(fleet, ['audit', 'verify'], { HOLDFAST_SECRETS_KEY: newest })
  t.is(bad.code, 1)
  t.regex(bad.output, /BROKEN at link 5 \(changed\)/)
})

test('a host that speaks of the job of another changes nothing and is audited', async (t) => {
  const fleet = await startFleet(t, { agents: ['a', 'b'].map((name) => ({ name, driver: 'sim' as const })) })
  const made = await fleet.call('POST', '/api/v1/datasets', { name: 'one', host: 'a' })
  const jobId = made.headers.get('x-job-id') ?? ''
  const { backends } = fleet
  const nats = await connectAsControlPlane(t, backends)
  const event = { type: 'fail', seq: 99, at: 0, error: { code: 'internal', message: 'forged' }, phases: [] }
  const report = { jobId, attempt: 1, delivery: 99, events: [event] }
  nats.publish(subjects.event('b'), JSON.stringify({ v: WIRE_VERSION, reports: [report] }))
  const [row] = await until('it is told', async () => {
    const rows = await rowsOf(fleet, 'operation=job.report')
    return rows.length > 0 ? rows : undefined
  })
  t.like(row, { subject: 'host:b', via: 'agent', result: 'refused', job_id: jobId, detail: { host_of_job: 'a' } })
  t.is((await fleet.ended(jobId)).state, 'succeeded')
})
