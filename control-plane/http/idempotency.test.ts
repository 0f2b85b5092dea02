import test from 'ava'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'
import { identify } from './idempotency-key.ts'
import { COMMON_STATUSES, type Dialect, route, WireError } from './route.ts'

const Thing = z.object({ id: z.number(), secret: z.string().optional() })

/** A dialect whose one mutation the test decides on. */
function dialectOf(handle: (body: unknown) => Promise<{ readonly status: 201; readonly body: z.infer<typeof Thing> }>) {
  const create = route({
    operation: 'createThing',
    method: 'POST',
    path: '/things',
    summary: 'For tests',
    access: 'operator',
    status: 201,
    body: z.unknown(),
    result: Thing,
    withoutSecrets: ({ id }) => ({ id }),
    handle: ({ body }) => handle(body),
  })
  const errorSchema = z.object({ code: z.string(), field: z.string().optional() })
  const dialect: Dialect = {
    name: 'test',
    title: 'Test',
    version: '1',
    description: '',
    owns: ['/things'],
    statuses: COMMON_STATUSES,
    errorBody: ({ code, field }) => ({ code, field }),
    errorSchema,
    schemas: {},
    routes: [create],
  }
  return dialect
}

test('a repeat gets the first answer, and nothing is done again', async (t) => {
  const { ask, fake } = await startListener(t)
  const repeat = () =>
    ask('POST', '/api/v1/datasets', { body: { name: 'a', tags: { x: 'y' } }, headers: { 'idempotency-key': 'k' } })
  const first = await repeat()
  const second = await repeat()
  t.is(first.status, 201)
  t.is(second.status, 201)
  t.is(second.text, first.text)
  for (const name of ['etag', 'x-job-id']) t.is(second.headers.get(name), first.headers.get(name), name)
  t.is(first.headers.get('idempotent-replayed'), null)
  t.is(second.headers.get('idempotent-replayed'), 'true')
  t.is(fake.jobs.size, 1)
})

test('a failed mutation is repeated as it failed; one that was turned away is tried again', async (t) => {
  const { ask, fake } = await startListener(t)
  const create = (key: string) =>
    ask('POST', '/api/v1/datasets', { body: { name: 'root' }, headers: { 'idempotency-key': key } })
  const failed = await create('a')
  t.is(failed.status, 500)
  fake.datasets.delete('root')
  const again = await create('a')
  t.deepEqual([again.status, again.json], [500, failed.json])

  fake.refuseNext = new FleetError('unavailable', 'offline')
  t.is((await create('b')).status, 503)
  t.is((await create('b')).status, 201)
})

test('a wait that ended before the work, or a bug of ours, is not the last word', async (t) => {
  const thrown: unknown[] = [
    new FleetError('timeout', 'the work goes on'),
    new WireError(500, {}, { cause: new FleetError('timeout', 'the work goes on') }),
    new TypeError('a bug'),
    new FleetError('internal', 'a tool said something new'),
  ]
  const { ask } = await startListener(t, {
    extraDialect: dialectOf(async () => {
      const next = thrown.shift()
      if (next !== undefined) throw next
      return { status: 201, body: { id: 1 } }
    }),
  })
  const statuses: number[] = []
  for (let n = 0; n < 5; n += 1) {
    statuses.push((await ask('POST', '/things', { body: 1, headers: { 'idempotency-key': 'k' } })).status)
  }
  t.deepEqual(statuses, [504, 500, 500, 500, 201])
})

test('secrets are shown once', async (t) => {
  const { ask, keys } = await startListener(t, {
    extraDialect: dialectOf(async () => ({ status: 201, body: { id: 1, secret: 'hush' } })),
  })
  const repeat = () => ask('POST', '/things', { body: {}, headers: { 'idempotency-key': 'k' } })
  t.deepEqual((await repeat()).json, { id: 1, secret: 'hush' })
  t.deepEqual((await repeat()).json, { id: 1 })
  t.notRegex(JSON.stringify([...keys.kept.values()]), /hush/)
})

test('a concurrent repeat waits for the first', async (t) => {
  const gate = Promise.withResolvers<void>()
  let calls = 0
  const { ask } = await startListener(t, {
    extraDialect: dialectOf(async () => {
      calls += 1
      await gate.promise
      return { status: 201, body: { id: calls } }
    }),
  })
  const repeats = Array.from({ length: 5 }, () =>
    ask('POST', '/things', { body: {}, headers: { 'idempotency-key': 'k' } }),
  )
  setTimeout(() => gate.resolve(), 100)
  const answers = await Promise.all(repeats)
  t.deepEqual(
    answers.map(({ status, json }) => [status, json.id]),
    answers.map(() => [201, 1]),
  )
  t.is(calls, 1)
})

test('a repeat whose client leaves stops waiting, and is no bug', async (t) => {
  const gate = Promise.withResolvers<void>()
  const { ask, url, lines, keys } = await startListener(t, {
    extraDialect: dialectOf(async () => {
      await gate.promise
      return { status: 201, body: { id: 1 } }
    }),
  })
  const headers = { 'idempotency-key': 'k' }
  const first = ask('POST', '/things', { body: {}, headers })
  await until('it holds the key', () => keys.kept.size === 1)
  const left = fetch(`${url}/things`, {
    method: 'POST',
    body: '{}',
    headers: { ...headers, authorization: 'Bearer admin-token' },
    signal: AbortSignal.timeout(100),
  })
  await t.throwsAsync(left)
  await until('the request is over', () => lines.some(({ event, status }) => event === 'request' && status !== 201))
  gate.resolve()
  t.is((await first).status, 201)
  t.deepEqual(
    lines.filter(({ event }) => event === 'request.bug'),
    [],
  )
})

test('another body under the same key is refused, in each dialect as it has it', async (t) => {
  const { ask } = await startListener(t, {
    extraDialect: dialectOf(async () => ({ status: 201, body: { id: 1 } })),
  })
  const headers = { 'idempotency-key': 'k' }
  t.is((await ask('POST', '/things', { body: { a: 1, b: 2 }, headers })).status, 201)
  t.is((await ask('POST', '/things', { body: { b: 2, a: 1 }, headers })).status, 201)
  t.like(await ask('POST', '/things', { body: { a: 2, b: 2 }, headers }), { status: 422, json: { code: 'key_reused' } })
  t.is((await ask('POST', '/api/v1/datasets', { body: { name: 'a' }, headers })).status, 201)
  const other = await ask('POST', '/api/v1/datasets', { body: { name: 'b' }, headers })
  t.like(other, { status: 400, json: { error: 'INVALID_REQUEST' } })
  t.regex(other.json.message, /Idempotency-Key/)
})

test('a key is of one caller, method and path', async (t) => {
  const { ask } = await startListener(t)
  const headers = { 'idempotency-key': 'k' }
  t.is((await ask('POST', '/api/v1/datasets', { body: { name: 'a' }, headers })).status, 201)
  const asOperator = await ask('POST', '/api/v1/datasets', { as: 'operator', body: { name: 'b' }, headers })
  t.is(asOperator.status, 201)
  t.is((await ask('POST', '/api/v1/clone', { body: { source: 'a', destination: 'c' }, headers })).status, 201)
  t.is((await ask('DELETE', '/api/v1/datasets/a', { headers })).status, 204)
  t.is((await ask('DELETE', '/api/v1/datasets/a/', { headers })).headers.get('idempotent-replayed'), 'true')
  t.is((await ask('POST', '/api/v1/datasets', { as: 'viewer', body: { name: 'a' }, headers })).status, 403)
})

test('a key that is none is 400 and names the header; reads carry none', async (t) => {
  const { ask, keys } = await startListener(t)
  for (const key of ['', 'a b', 'x'.repeat(256), 'ä']) {
    const answer = await ask('POST', '/api/v1/datasets', { body: { name: 'a' }, headers: { 'idempotency-key': key } })
    t.like(answer, { status: 400, json: { error: 'INVALID_REQUEST' } }, key)
    t.regex(answer.json.message, /^Idempotency-Key: /)
  }
  t.is((await ask('GET', '/api/v1/datasets', { headers: { 'idempotency-key': 'a b' } })).status, 200)
  t.is(keys.kept.size, 0)
})

test('what is not valid leaves its key unused', async (t) => {
  const { ask } = await startListener(t)
  const headers = { 'idempotency-key': 'k' }
  t.is((await ask('POST', '/api/v1/datasets', { body: { name: 7 }, headers })).status, 400)
  t.is((await ask('POST', '/api/v1/datasets', { body: { name: 'a' }, headers })).status, 201)
})

test('what may be anything may not be nested without end', async (t) => {
  const { ask } = await startListener(t, {
    extraDialect: dialectOf(async () => ({ status: 201, body: { id: 1 } })),
  })
  const headers = { 'idempotency-key': 'k' }
  const body = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`
  t.like(await ask('POST', '/things', { body, headers }), {
    status: 400,
    json: { code: 'invalid', field: 'a.a.a.a.a.a.a.a' },
  })
  t.is((await ask('POST', '/things', { body: `${'['.repeat(60)}${']'.repeat(60)}`, headers })).status, 201)
})

test('a list of pairs is not the object it looks like', (t) => {
  const caller = {
    subject: 's',
    userId: null,
    groupId: 'g',
    role: 'admin',
    fleetRole: null,
    via: 'token',
    request: null,
  } as const
  const printOf = (body: unknown) =>
    identify({ key: 'k', caller, method: 'POST', path: '/', query: {}, body }).asked.toString()
  t.not(printOf({ a: 1 }), printOf([['a', 1]]))
  t.not(printOf(null), printOf([]))
  t.is(printOf({ a: { b: 1, c: 2 } }), printOf({ a: { c: 2, b: 1 } }))
})
