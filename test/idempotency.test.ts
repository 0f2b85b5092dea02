import { randomUUID } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { createIdempotencyStore } from '../control-plane/db/stores/idempotency-store.ts'
import { newId } from '../shared/ids.ts'
import { startDatabase } from './harness/database.ts'
import { startFleet, type TestFleet } from './harness/fleet.ts'
import { until } from './harness/until.ts'

const HASH = 'ab'.repeat(32)
const ASKED = { hash: HASH, fingerprints: ['cd'.repeat(32)] } as const
const ANSWER = { status: 201, headers: { 'X-Job-Id': 'j' }, etag: '"e"', body: { z: 1, a: ['ä', null] } }

async function openKeys(t: ExecutionContext) {
  const { db, sql } = await startDatabase(t)
  const holders = Array.from({ length: 3 }, newId)
  return { db, keys: createIdempotencyStore(sql), holders: holders as [string, string, string] }
}

/** As when its holder had been silent for long. */
const LAPSE = `update idempotency_key set held_until = now() - interval '1 second'`

test('a key is held by one, until it answers; then everybody gets that answer', async (t) => {
  const { keys, holders } = await openKeys(t)
  const states = await Promise.all(holders.map(async (holder) => (await keys.hold(ASKED, holder)).state))
  t.deepEqual(states.toSorted(), ['held', 'waiting', 'waiting'])
  const holder = holders[states.indexOf('held')] ?? ''
  t.deepEqual(await keys.hold({ ...ASKED, fingerprints: ['ef'.repeat(32)] }, newId()), { state: 'different' })
  await keys.answer({ hash: HASH, holder: newId() }, { ...ANSWER, status: 500 })
  t.deepEqual(await keys.hold(ASKED, newId()), { state: 'waiting' })
  await keys.answer({ hash: HASH, holder }, ANSWER)
  t.deepEqual(await keys.hold(ASKED, newId()), { state: 'answered', answer: ANSWER })
})

test('a holder that is gone is followed by the next; one that renews is not', async (t) => {
  const { db, keys, holders } = await openKeys(t)
  const [first, second] = holders
  await keys.hold(ASKED, first)
  await db.query(LAPSE)
  await keys.renew([first])
  t.deepEqual(await keys.hold(ASKED, second), { state: 'waiting' })
  await db.query(LAPSE)
  t.deepEqual(await keys.hold(ASKED, second), { state: 'held' })
  await keys.answer({ hash: HASH, holder: first }, ANSWER)
  t.deepEqual(await keys.hold(ASKED, newId()), { state: 'waiting' })
})

test('a key under which nothing was placed is forgotten when it is let go of, another is not', async (t) => {
  const { db, keys, holders } = await openKeys(t)
  const [first, second] = holders
  await keys.hold(ASKED, first)
  await keys.release({ hash: HASH, holder: first })
  t.deepEqual(await keys.hold({ ...ASKED, fingerprints: ['ef'.repeat(32)] }, first), { state: 'held' })
  await db.query(`update idempotency_key set placed = '{"0": {}}'`)
  await keys.release({ hash: HASH, holder: first })
  t.deepEqual(await keys.hold(ASKED, second), { state: 'different' })
  t.deepEqual(await keys.hold({ ...ASKED, fingerprints: ['ef'.repeat(32)] }, second), { state: 'held' })
})

test('a repeat behind a change of the secrets key is the same request', async (t) => {
  const { keys, holders } = await openKeys(t)
  await keys.hold(ASKED, holders[0])
  const newer = { hash: HASH, fingerprints: ['ef'.repeat(32), 'cd'.repeat(32)] } as const
  t.deepEqual(await keys.hold(newer, newId()), { state: 'waiting' })
  await keys.answer({ hash: HASH, holder: holders[0] }, ANSWER)
  t.like(await keys.hold(newer, newId()), { state: 'answered' })
})

test('answers are kept for a day', async (t) => {
  const { db, keys, holders } = await openKeys(t)
  await keys.hold(ASKED, holders[0])
  await keys.answer({ hash: HASH, holder: holders[0] }, ANSWER)
  await db.query(`update idempotency_key set created_at = now() - interval '23 hours 59 minutes'`)
  await keys.prune()
  t.like(await keys.hold(ASKED, holders[1]), { state: 'answered' })
  await db.query(`update idempotency_key set created_at = now() - interval '24 hours 1 minute'`)
  await keys.prune()
  t.deepEqual(await keys.hold(ASKED, holders[1]), { state: 'held' })
})

interface Keyed {
  readonly key: string
  readonly body?: unknown
  readonly plane?: number
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** fetch itself: `fleet.call` sends no headers. */
async function ask(fleet: TestFleet, path: string, { key, body, plane = 0, method = 'POST', headers }: Keyed) {
  const response = await fetch(`${fleet.url(plane)}${path}`, {
    method,
    headers: { authorization: `Bearer ${fleet.token}`, 'idempotency-key': key, ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    jobId: response.headers.get('x-job-id'),
    etag: response.headers.get('etag'),
    isReplayed: response.headers.get('idempotent-replayed') === 'true',
    body: text === '' ? undefined : JSON.parse(text),
  }
}

const jobsOf = (fleet: TestFleet, dataset: string) => fleet.sql('select id from job where dataset_name = $1', [dataset])

test.serial('over two replicas: one job whatever dies, and one answer', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }], planes: 2 })

  // Many repeats at once, at both replicas.
  const body = { name: 'many' }
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => ask(fleet, '/api/v1/datasets', { key: 'many', body, plane: n % 2 })),
  )
  t.deepEqual(new Set(answers.map(({ status }) => status)), new Set([201]))
  t.is(new Set(answers.map((answer) => JSON.stringify([answer.jobId, answer.etag, answer.body]))).size, 1)
  t.is(answers.filter(({ isReplayed }) => !isReplayed).length, 1)
  t.is((await jobsOf(fleet, 'many')).length, 1)
  t.is((await ask(fleet, '/api/v1/datasets', { key: 'many', body: { name: 'other' }, plane: 1 })).status, 400)

  // The replica dies between the job's commit and the answer.
  for (const [name, path, request] of [
    ['crashed', '/api/v1/datasets', { name: 'crashed' }],
    ['crashed-snap', '/api/v1/snapshots', { source: 'crashed', name: 'crashed-snap' }],
  ] as const) {
    await fleet.agent('a').signal('SIGSTOP')
    const lost = ask(fleet, path, { key: name, body: request }).then(
      () => 'answered',
      () => 'lost',
    )
    const jobId = await until('the job is durable', async () => (await jobsOf(fleet, name))[0]?.id)
    await fleet.planes[0]?.signal('SIGKILL')
    await fleet.agent('a').signal('SIGCONT')
    t.is(await lost, 'lost')
    const repeat = await ask(fleet, path, { key: name, body: request, plane: 1 })
    t.is(repeat.status, 201, JSON.stringify(repeat.body))
    t.is(repeat.jobId, jobId)
    t.is(repeat.body.name, name)
    t.is((await jobsOf(fleet, name)).length, 1)
    const read = await fleet.call('GET', `${path}/${name}`, undefined, { plane: 1 })
    t.deepEqual(repeat.body, read.body)
    t.is(repeat.etag, read.headers.get('etag'))
    const third = await ask(fleet, path, { key: name, body: request, plane: 1 })
    t.true(third.isReplayed)
    t.deepEqual(third.body, repeat.body)
    await fleet.ready({ plane: 0 })
  }

  // What a silent host refused is not done later, so a repeat may try anew.
  await fleet.agent('a').signal('SIGSTOP')
  const refused = await ask(fleet, '/api/v1/datasets', { key: 'silent', body: { name: 'silent' } })
  t.is(refused.status, 503)
  await fleet.agent('a').signal('SIGCONT')
  const created = await until('a repeat is let in', async () => {
    const answer = await ask(fleet, '/api/v1/datasets', { key: 'silent', body: { name: 'silent' } })
    return answer.status === 503 || answer.status === 500 ? undefined : answer
  })
  t.is(created.status, 201)
  t.not(created.jobId, refused.jobId)
  await fleet.quiet()
})

test.serial('of two writers with one ETag exactly one wins; a delete under a key is a 204 for ever', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }] })
  for (let round = 0; round < 5; round += 1) {
    const made = await ask(fleet, '/api/v1/datasets', { key: `make-${round}`, body: { name: 'd' } })
    const path = '/api/v1/datasets/d'
    const stale = { method: 'DELETE', key: randomUUID(), headers: { 'if-match': '"old"' } }
    t.is((await ask(fleet, path, stale)).status, 412)
    const headers = { 'if-match': made.etag ?? '' }
    const removals = await Promise.all(
      ['x', 'y'].map((key) => ask(fleet, path, { method: 'DELETE', key: `${key}${round}`, headers })),
    )
    const won = removals.findIndex(({ status }) => status === 204)
    t.deepEqual(removals.map(({ status }) => status).toSorted(), [204, removals[1 - won]?.status])
    t.true([412, 500].includes(removals[1 - won]?.status ?? 0), JSON.stringify(removals))
    const again = await ask(fleet, path, { method: 'DELETE', key: `${won === 0 ? 'x' : 'y'}${round}`, headers })
    t.like(again, { status: 204, isReplayed: true })
  }
  t.is((await fleet.sql(`select count(*)::int as n from job where kind = 'dataset.delete'`))[0].n, 5)
})
