import test from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { startListener } from '../../test/harness/fake-listener.ts'
import { refusalOf } from './audit-refusal.ts'
import { WireError } from './route.ts'

const ABSENT_ID = '01900000-0000-7000-8000-0000000000ff'

test('a refused mutation of every dialect is told to the audit, with who and from where', async (t) => {
  const { ask, fake, dialects } = await startListener(t)
  const routes = dialects.flatMap((dialect) =>
    dialect.routes.flatMap((route) =>
      (route.kind === 'route' || route.kind === 'raw') && route.method !== 'GET' && route.access !== 'public'
        ? [{ route, operation: `${dialect.name}.${route.operation}` }]
        : [],
    ),
  )
  t.true(new Set(routes.map(({ operation }) => operation.split('.')[0])).size >= 2)
  for (const { route, operation } of routes) {
    const path = route.path.replaceAll(/:[^/]+/g, ABSENT_ID)
    const answer = await ask(route.method, path, { as: null, headers: { 'x-request-id': 'mine' } })
    t.is(answer.status, 401, operation)
    t.like(fake.audited.at(-1), { operation, result: 'refused', code: 'unauthorized', by: { subject: 'anonymous' } })
    t.like(fake.audited.at(-1)?.by.request, { id: 'mine', address: '127.0.0.1', method: route.method, path })
  }
  t.is(fake.audited.length, routes.length)
})

test('what a known caller may not do is told with the caller', async (t) => {
  const { ask, fake } = await startListener(t)
  t.is((await ask('POST', '/api/v1/datasets', { as: 'viewer', body: { name: 'x' } })).status, 403)
  t.like(fake.audited, [{ operation: 'zerofs.createDataset', code: 'forbidden', by: { subject: 'test-viewer' } }])
})

test('reads that found nothing, unknown paths, other methods and successes are not told', async (t) => {
  const { ask, fake } = await startListener(t)
  t.is((await ask('GET', '/api/v1/datasets/nope')).status, 404)
  t.is((await ask('POST', '/nowhere')).status, 404)
  t.is((await ask('PATCH', '/api/v1/datasets')).status, 405)
  t.is((await ask('POST', '/api/v1/datasets', { body: { name: 'x' } })).status, 201)
  t.deepEqual(fake.audited, [])
  t.is((await ask('GET', '/api/v1/datasets', { as: null })).status, 401)
  t.is(fake.audited.length, 1)
})

test('an order that stands is no refusal, however its job ended; what was tried has failed', (t) => {
  const mark = { id: 'r', address: '192.0.2.1', method: 'POST', path: '/x' }
  const ended = { dialect: 'd', trail: { operation: 'o', mark, caller: null }, status: 500 }
  const headers = { 'X-Job-Id': ABSENT_ID }
  t.is(
    refusalOf({ ...ended, thrown: new WireError(500, {}, { headers, cause: new FleetError('internal', 'x') }) }),
    undefined,
  )
  t.like(refusalOf({ ...ended, thrown: new Error('bug') }), { result: 'failed', code: 'internal' })
  t.like(refusalOf({ ...ended, thrown: new WireError(500, {}, { cause: new FleetError('exists', 'x') }) }), {
    result: 'refused',
    code: 'exists',
  })
  t.like(refusalOf({ ...ended, status: 429, thrown: new WireError(429, {}) }), { result: 'refused', code: 'too_many' })
})
