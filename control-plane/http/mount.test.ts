import { connect } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { fakeJob } from '../../test/harness/fake-core.ts'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'

/** One request byte by byte, for what fetch refuses to send. */
function sendRaw(t: ExecutionContext, port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.end(text))
    t.teardown(() => socket.destroy())
    let received = ''
    socket.on('data', (chunk) => {
      received += chunk.toString()
    })
    socket.on('end', () => resolve(received))
    socket.on('error', reject)
  })
}

test('each dialect words an unknown path in its own envelope', async (t) => {
  const { ask } = await startListener(t)
  t.like(await ask('GET', '/api/v1/snapshots/a/b'), { status: 404, json: { error: 'NOT_FOUND' } })
  t.like(await ask('GET', '/api/v1/jobs/a/b'), { status: 404, json: { error: { code: 'not_found' } } })
  t.like(await ask('GET', '/nowhere'), { status: 404, json: { error: { code: 'not_found' } } })
  t.like(await ask('GET', '/api/v1/datasetsx'), { status: 404, json: { error: { code: 'not_found' } } })
})

test('a known path by another method is 405 with Allow over every pattern that matches', async (t) => {
  const { ask } = await startListener(t)
  const zerofs = await ask('PUT', '/api/v1/snapshots/restore')
  t.like(zerofs, { status: 405, json: { error: 'METHOD_NOT_ALLOWED' } })
  t.is(zerofs.headers.get('allow'), 'POST, GET, DELETE, HEAD, OPTIONS')
  const fleet = await ask('DELETE', '/api/v1/jobs')
  t.like(fleet, { status: 405, json: { error: { code: 'method_not_allowed' } } })
  t.is(fleet.headers.get('allow'), 'GET, HEAD, OPTIONS')
})

test('a snapshot named like a sub-path is still reached by the methods that the sub-path lacks', async (t) => {
  const { ask } = await startListener(t)
  await ask('POST', '/api/v1/snapshots', { body: { source: 'root', name: 'restore' } })
  t.like(await ask('GET', '/api/v1/snapshots/restore'), { status: 200, json: { name: 'restore' } })
})

test('OPTIONS tells the methods, HEAD answers as GET without the body', async (t) => {
  const { ask } = await startListener(t)
  const options = await ask('OPTIONS', '/api/v1/clone', { as: null })
  t.is(options.status, 204)
  t.is(options.headers.get('allow'), 'POST, OPTIONS')
  const head = await ask('HEAD', '/api/v1/datasets/root')
  t.is(head.status, 200)
  t.is(head.text, '')
  t.true(Number(head.headers.get('content-length')) > 0)
})

test('a trailing slash never matters', async (t) => {
  const { ask } = await startListener(t)
  for (const path of ['/health', '/api/v1/datasets', '/api/v1/datasets/root', '/api/v1/jobs', '/readyz']) {
    t.is((await ask('GET', `${path}/`)).status, 200, path)
  }
})

test('a body is JSON whatever its Content-Type says', async (t) => {
  const { ask } = await startListener(t)
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  t.is((await ask('POST', '/api/v1/datasets', { headers, body: { name: 'a' } })).status, 201)
})

test('a bad body is 400 and names the field', async (t) => {
  const { ask } = await startListener(t)
  const cases = [
    ['{"name": ', 'body: is not valid JSON'],
    ['', 'body: is required'],
    ['[]', 'body: expected object, received array'],
    ['{}', 'name: is required'],
    ['{"name": 7}', 'name: expected string, received number'],
    ['{"name": ""}', 'name: must not be empty'],
    ['{"name": "a/b"}', "name: may hold only letters, digits, '.', '_', ':' and '-'"],
    ['{"name": "a", "tags": {"k": 1}}', 'tags.k: expected string, received number'],
  ] as const
  for (const [body, message] of cases) {
    t.like(await ask('POST', '/api/v1/datasets', { body }), {
      status: 400,
      json: { error: 'INVALID_REQUEST', message },
    })
  }
})

test('bytes that are not UTF-8 are not JSON', async (t) => {
  const { port } = await startListener(t)
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const body = Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])
  socket.write(
    `POST /api/v1/datasets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\nContent-Length: ${body.length}\r\n\r\n`,
  )
  socket.write(body)
  const answer = await new Promise((resolve) => socket.once('data', resolve))
  t.regex(String(answer), /^HTTP\/1\.1 400 .*is not valid JSON/s)
})

test('a bad query or path is 400 and names the field', async (t) => {
  const { ask } = await startListener(t)
  const cases = [
    ['/api/v1/jobs?limit=0', 'limit'],
    ['/api/v1/jobs?limit=501', 'limit'],
    ['/api/v1/jobs?limit=1&limit=2', 'limit'],
    ['/api/v1/jobs?kind=dance', 'kind'],
    ['/api/v1/jobs?state=running,asleep', 'state.1'],
    ['/api/v1/jobs/not-a-uuid', 'id'],
    ['/api/v1/events?timeout=61', 'timeout'],
  ] as const
  for (const [path, field] of cases) {
    t.like(await ask('GET', path), { status: 400, json: { error: { code: 'invalid', field } } }, path)
  }
})

test('a body over 1 MiB is 413, announced or streamed', async (t) => {
  const { ask, port } = await startListener(t)
  const body = JSON.stringify({ name: 'x'.repeat(1024 * 1024) })
  t.like(await ask('POST', '/api/v1/datasets', { body }), { status: 413, json: { error: 'PAYLOAD_TOO_LARGE' } })
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
  const head = 'POST /api/v1/datasets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\nConnection: close\r\n'
  const streamed = await sendRaw(t, port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(17)}0\r\n\r\n`)
  t.regex(streamed, /^HTTP\/1\.1 413 .*PAYLOAD_TOO_LARGE/s)
  t.like(await ask('POST', `/api/v1/jobs/${crypto.randomUUID()}/cancel`, { body }), {
    status: 413,
    json: { error: { code: 'too_large' } },
  })
})

test('a bug is 500 in the envelope without its text, and is logged with its stack', async (t) => {
  const { ask, fake, lines } = await startListener(t)
  fake.refuseNext = new TypeError('secret /tank/path')
  const answer = await ask('POST', '/api/v1/datasets', { body: { name: 'a' } })
  t.like(answer, { status: 500, json: { error: 'INTERNAL_ERROR', message: 'internal error' } })
  t.notRegex(answer.text, /secret/)
  t.truthy(lines.find((line) => line.event === 'request.bug' && line.requestId === answer.headers.get('x-request-id')))
})

test('an offline host is 503 with Retry-After in either envelope', async (t) => {
  const { ask, fake } = await startListener(t)
  fake.refuseNext = new FleetError('unavailable', "host 'host-a' is offline")
  const answer = await ask('POST', '/api/v1/datasets', { body: { name: 'a' } })
  t.like(answer, { status: 503, json: { error: 'RPC_CONNECTION_FAILED', message: "host 'host-a' is offline" } })
  t.is(answer.headers.get('retry-after'), '2')
})

test('one line per request, with the pattern and the subject, never the path', async (t) => {
  const { ask, lines } = await startListener(t)
  const headers = { 'x-request-id': 'mine-1' }
  const answer = await ask('GET', '/api/v1/datasets/root', { headers })
  t.is(answer.headers.get('x-request-id'), 'mine-1')
  const line = lines.filter(({ event }) => event === 'request')
  t.is(line.length, 1)
  t.like(line[0], {
    requestId: 'mine-1',
    method: 'GET',
    route: '/api/v1/datasets/:name',
    status: 200,
    subject: 'test-admin',
  })
  t.notRegex(JSON.stringify(lines), /root|token/)
})

test('a request id that could forge log lines is replaced', async (t) => {
  const { ask } = await startListener(t)
  const answer = await ask('GET', '/health', { headers: { 'x-request-id': 'a b"c' } })
  t.not(answer.headers.get('x-request-id'), 'a b"c')
})

test('If-None-Match of the current version is 304', async (t) => {
  const { ask } = await startListener(t)
  const first = await ask('GET', '/api/v1/datasets/root')
  const etag = first.headers.get('etag') ?? ''
  t.regex(etag, /^"[^"]+"$/)
  const again = await ask('GET', '/api/v1/datasets/root', { headers: { 'if-none-match': etag } })
  t.is(again.status, 304)
  t.is(again.text, '')
})

test('a stale If-Match is 412 and changes nothing; the current one passes', async (t) => {
  const { ask } = await startListener(t)
  const made = await ask('POST', '/api/v1/datasets', { body: { name: 'a' } })
  const stale = await ask('DELETE', '/api/v1/datasets/a', { headers: { 'if-match': '"old"' } })
  t.like(stale, { status: 412, json: { error: 'PRECONDITION_FAILED' } })
  t.is((await ask('GET', '/api/v1/datasets/a')).status, 200)
  const etag = made.headers.get('etag') ?? ''
  t.is((await ask('DELETE', '/api/v1/datasets/a', { headers: { 'if-match': etag } })).status, 204)
})

test('a stale If-Match of a job stops neither cancel nor retry; a read may carry one too', async (t) => {
  const { ask, fake } = await startListener(t)
  const id = '01900000-0000-7000-8000-0000000000aa'
  fake.jobs.set(id, fakeJob({ id }))
  const etag = (await ask('GET', `/api/v1/jobs/${id}`)).headers.get('etag') ?? ''
  for (const action of ['cancel', 'retry']) {
    const act = (ifMatch: string) => ask('POST', `/api/v1/jobs/${id}/${action}`, { headers: { 'if-match': ifMatch } })
    t.like(await act('"old"'), { status: 412, json: { error: { code: 'stale' } } })
    t.is((await act(etag)).status, 202)
  }
  t.is((await ask('GET', `/api/v1/jobs/${id}`, { headers: { 'if-match': '"old"' } })).status, 412)
  t.is((await ask('GET', `/api/v1/jobs/${id}`, { headers: { 'if-match': `"old", ${etag}` } })).status, 200)
})

test('a condition that nothing can hold is refused, never ignored', async (t) => {
  const { ask } = await startListener(t)
  const headers = { 'if-match': '"any"' }
  t.is((await ask('POST', '/api/v1/datasets', { headers, body: { name: 'a' } })).status, 412)
  t.is((await ask('GET', '/api/v1/datasets/a')).status, 404)
})

test('what can be read under its own path is changed under its own condition', async (t) => {
  const { dialects } = await startListener(t)
  const reads = new Set(
    dialects.flatMap(({ routes }) =>
      routes.flatMap((route) => ('method' in route && route.method === 'GET' ? [route.path] : [])),
    ),
  )
  const loose = dialects.flatMap(({ routes }) =>
    routes.flatMap((route) =>
      route.kind === 'route' &&
      !['GET', 'POST'].includes(route.method) &&
      // The life of a session has no version.
      route.operation !== 'refreshLogin' &&
      reads.has(route.path) &&
      route.precondition !== 'own'
        ? [route.operation]
        : [],
    ),
  )
  t.deepEqual(loose, [])
})

test('security headers are on every answer, failures too', async (t) => {
  const { ask } = await startListener(t)
  for (const path of ['/health', '/nowhere']) {
    const { headers } = await ask('GET', path)
    t.is(headers.get('x-content-type-options'), 'nosniff')
    t.regex(headers.get('content-security-policy') ?? '', /default-src 'self'/)
  }
})

test('request lines that are no URL end in an answer, not in a crash', async (t) => {
  const { ask, port } = await startListener(t)
  for (const target of ['//[', 'http://[', '/%', '/api/v1/datasets/%zz', '\\\\', '*', '/?%', '//']) {
    for (const upgrade of ['', 'Connection: Upgrade\r\nUpgrade: websocket\r\n']) {
      const answer = await sendRaw(t, port, `GET ${target} HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`)
      // Some of it is taken for `/`.
      t.regex(answer, /^HTTP\/1\.1 (200|40[014]) /, `${target} ${upgrade}`)
    }
  }
  t.is((await ask('GET', '/health')).status, 200)
})

test('closing answers a long poll at once and refuses new connections', async (t) => {
  const { ask, http, url, fake } = await startListener(t)
  const poll = ask('GET', '/api/v1/events?timeout=30')
  await until('a follower', () => fake.followers() > 0)
  await http.close()
  t.like(await poll, { status: 200, json: { items: [] } })
  await t.throwsAsync(fetch(`${url}/health`))
})

test('a client that leaves aborts what waits for it', async (t) => {
  const { url, fake } = await startListener(t)
  const gone = new AbortController()
  const headers = { authorization: 'Bearer viewer-token' }
  const poll = fetch(`${url}/api/v1/events?timeout=60`, { headers, signal: gone.signal })
  await until('a follower', () => fake.followers() > 0)
  gone.abort()
  await t.throwsAsync(poll)
  await until('no follower', () => fake.followers() === 0)
  t.pass()
})
