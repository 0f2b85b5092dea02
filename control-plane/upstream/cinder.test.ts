import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { pino } from 'pino'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'
import { createCallerTokens } from './caller-tokens.ts'
import { createCinder } from './cinder.ts'
import { createKeystone } from './keystone.ts'

interface Seen {
  readonly line: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

type Answer = (request: IncomingMessage, response: ServerResponse, seen: Seen) => void

/** A stub that records: neither Cinder nor Keystone, but what is sent to them, and answers made up for the test. */
async function startStub(t: ExecutionContext, answer: Answer) {
  const seen: Seen[] = []
  const server = createServer(async (request, response) => {
    const body = await text(request).catch(() => '(cut)')
    const one = { line: `${request.method} ${request.url}`, headers: request.headers, body }
    seen.push(one)
    answer(request, response, one)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  // as: a TCP server that listens has an AddressInfo
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/v3`, seen, server }
}

const echo: Answer = (_request, response) => {
  response.writeHead(202, {
    'content-type': 'application/json',
    'x-openstack-request-id': 'req-1',
    'set-cookie': 'a=b',
  })
  response.end('{"volume":{"id":"v"}}')
}

const TOKENS: Readonly<Record<string, string>> = { 'red-token': 'red', 'blue-token': 'blue' }

const identities: Answer = (request, response, { headers }) => {
  const project = TOKENS[String(headers['x-subject-token'])]
  const isAsked = request.url === '/v3/auth/tokens?nocatalog' && headers['x-auth-token'] === headers['x-subject-token']
  if (project === undefined || !isAsked) return void response.writeHead(404).end()
  const token = {
    expires_at: new Date(Date.now() + 60_000).toISOString().replace(/\.\d+Z/, '.000000Z'),
    user: { id: `${project}-user`, name: 'u', domain: { id: 'default' } },
    project: { id: project, name: 'same-name-in-two-domains' },
    roles: [{ id: 'r', name: project === 'red' ? 'member' : 'auditor' }],
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ token }))
}

const GROUPS: Readonly<Record<string, string>> = { red: '00000000-0000-7000-8000-0000000000aa' }

async function start(t: ExecutionContext, answer: Answer = echo, times = { connectMs: 1_000, idleMs: 1_000 }) {
  const cinder = await startStub(t, answer)
  const identity = await startStub(t, identities)
  const keystone = createKeystone({ url: identity.url, groupNamed: async (name) => GROUPS[name] })
  const logger = pino({ level: 'silent' })
  const listener = await startListener(t, {
    foreignTokens: keystone,
    forwarder(credentials) {
      const made = createCinder({
        ...{ url: cinder.url, tokens: createCallerTokens({ credentials, keystone }) },
        ...{ privateHeaders: ['X-Cert'], logger, times },
      })
      t.teardown(() => made.close())
      return made
    },
  })
  const ask = (
    method: string,
    path: string,
    init: { token?: string; body?: unknown; headers?: Record<string, string> } = {},
  ) =>
    listener.ask(method, path, {
      as: null,
      headers: { 'x-auth-token': init.token ?? 'red-token', ...init.headers },
      ...(init.body === undefined ? {} : { body: init.body }),
    })
  return { ...listener, ask, asOurs: listener.ask, cinder, identity }
}

test('what is not ours goes there as it came, and its answer comes back', async (t) => {
  const { ask, cinder } = await start(t)
  const body = { volume: { size: 1, name: 'ü' } }
  const answered = await ask('POST', '/v3/red/volumes?a=%20b&a=2', {
    body,
    headers: { 'content-type': 'application/json' },
  })
  t.is(answered.status, 202)
  t.is(answered.text, '{"volume":{"id":"v"}}')
  t.is(answered.headers.get('x-openstack-request-id'), 'req-1')
  t.is(answered.headers.get('set-cookie'), null)
  t.deepEqual(
    cinder.seen.map(({ line, body: sent }) => [line, sent]),
    [['POST /v3/red/volumes?a=%20b&a=2', JSON.stringify(body)]],
  )
})

test('the gateway leads to the project of the token', async (t) => {
  const { ask, cinder } = await start(t)
  for (const [method, path] of [
    ['GET', '/v1/block/snapshot'],
    ['GET', '/v1/block/snapshot/s1'],
    ['DELETE', '/v1/block/snapshot/s1'],
    ['GET', '/v1/block/volume?limit=2'],
    ['DELETE', '/v1/block/volume/v1'],
  ] as const)
    t.is((await ask(method, path)).status, 202, path)
  await ask('POST', '/v1/block/snapshot', { body: { snapshot: {} } })
  await ask('POST', '/v1/block/volume', { body: { volume: { size: 1 } } })
  await ask('POST', '/v1/volume', { body: { volume: { size: 1, backup_id: null } } })
  await ask('POST', '/v1/volume/v1/action', { body: { 'os-extend': { new_size: 2 } } })
  t.deepEqual(
    cinder.seen.map(({ line }) => line),
    [
      'GET /v3/red/snapshots',
      'GET /v3/red/snapshots/s1',
      'DELETE /v3/red/snapshots/s1',
      'GET /v3/red/volumes?limit=2',
      'DELETE /v3/red/volumes/v1',
      'POST /v3/red/snapshots',
      'POST /v3/red/volumes',
      'POST /v3/red/volumes',
      'POST /v3/red/volumes/v1/action',
    ],
  )
  t.is(cinder.seen.at(-1)?.body, '{"os-extend":{"new_size":2}}')
})

test('what the backup service answers by itself never goes there', async (t) => {
  const { ask, cinder } = await start(t)
  await ask('POST', '/v1/volume', { body: { volume: { backup_id: 'b' } } })
  await ask('POST', '/v1/block/volume', { body: { volume: { backup_id: 'b' } } })
  await ask('POST', '/v1/volume/v1/action', { body: { rollback: { snapshot_id: 's' } } })
  await ask('GET', '/v1/volume/backup')
  await ask('GET', '/v1/block/backup')
  await ask('GET', '/v1/volume')
  await ask('GET', '/api/v1/volumes')
  t.deepEqual(cinder.seen, [])
})

test('no credential of ours goes up, and no header says who somebody is', async (t) => {
  const { ask, asOurs, cinder } = await start(t)
  const headers = {
    ...{
      authorization: 'Bearer operator-token',
      cookie: 'holdfast=secret',
      'x-cert': 'CN=alice',
      'x-holdfast-group': 'g',
    },
    ...{ 'x-forwarded-for': '10.0.0.1', forwarded: 'for=10.0.0.1', 'x-project-id': 'blue', 'x-roles': 'admin' },
    ...{ 'x-identity-status': 'Confirmed', 'x-user-id': 'root', 'x-is-admin-project': 'True', 'idempotency-key': 'k' },
  }
  t.is((await ask('GET', '/v3/red/volumes', { headers })).status, 202)
  const kept = Object.keys(cinder.seen[0]?.headers ?? {}).filter((name) => name in headers)
  t.deepEqual(kept, [])
  t.is(cinder.seen[0]?.headers['x-auth-token'], 'red-token')
  // Ours, shown where the other service's belongs; and nothing that it could know.
  for (const token of ['operator-token', '']) t.is((await ask('GET', '/v3/red/volumes', { token })).status, 401, token)
  t.is((await asOurs('GET', '/v3/red/volumes')).status, 401)
  t.is(cinder.seen.length, 1)
})

test('a path that others may read otherwise goes nowhere', async (t) => {
  const { cinder, port } = await start(t)
  for (const path of [
    '/v3/../admin',
    '/v3/red/%2e%2e/x',
    '/v3/red//volumes',
    '/v3/a%2fb',
    '/v3/a\\b',
    '/v1/block/volume/..',
  ]) {
    const socket = connect(port, '127.0.0.1')
    socket.end(`GET ${path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: red-token\r\nConnection: close\r\n\r\n`)
    t.regex(await text(socket), /^HTTP\/1\.1 400 /, path)
  }
  t.deepEqual(cinder.seen, [])
})

test('two lengths, or a length and chunks, are one request or none', async (t) => {
  const { cinder, port } = await start(t)
  const smuggled = 'GET /v3/blue/volumes HTTP/1.1\r\nHost: x\r\n\r\n'
  for (const head of [
    `Content-Length: ${smuggled.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    `Content-Length: 0\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
    `Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${smuggled}`,
  ]) {
    const socket = connect(port, '127.0.0.1')
    socket.end(`POST /v3/red/volumes HTTP/1.1\r\nHost: x\r\nX-Auth-Token: red-token\r\n${head}`)
    await text(socket).catch(() => '')
  }
  t.false(cinder.seen.some(({ line }) => line.includes('blue')))
})

test('large bodies stream both ways, and a client that leaves ends it there too', async (t) => {
  const piece = Buffer.alloc(65_536, 'x')
  let ended = 0
  const { ask, cinder, url } = await start(t, (request, response) => {
    if (request.method === 'PUT') return void response.writeHead(200).end()
    response.writeHead(200)
    response.once('close', () => {
      ended += 1
    })
    const write = () => {
      while (!response.destroyed && response.write(piece));
    }
    response.on('drain', write)
    write()
  })
  const sent = 'y'.repeat(8 * 2 ** 20)
  t.is((await ask('PUT', '/v3/red/volumes/v', { body: sent })).status, 200)
  t.is(cinder.seen[0]?.body.length, sent.length)
  const stop = new AbortController()
  const answer = await fetch(`${url}/v3/red/endless`, { headers: { 'x-auth-token': 'red-token' }, signal: stop.signal })
  await answer.body?.getReader().read()
  stop.abort()
  await until('the answer ended there', () => ended === 1)
})

test('one that is down, silent, or breaks off is told in our envelope, or by a cut', async (t) => {
  const { ask, cinder } = await start(t, (request, response) => {
    if (request.url?.endsWith('/silent')) return
    response.writeHead(200, { 'content-length': '100' })
    response.write('half')
    setTimeout(() => response.destroy(), 20)
  })
  const silent = await ask('GET', '/v1/block/volume/silent')
  t.is(silent.status, 503)
  t.is(typeof silent.json.error.message, 'string')
  await t.throwsAsync(ask('GET', '/v3/red/half'))
  cinder.server.closeAllConnections()
  await new Promise((resolve) => cinder.server.close(resolve))
  t.is((await ask('GET', '/v3/red/volumes')).status, 503)
})

test('a token of the identity service is a caller of ours, in the group of its project', async (t) => {
  const { ask, identity, asOurs } = await start(t)
  const own = await ask('GET', '/api/v1/volumes')
  t.is(own.status, 200)
  // Its role there does not count here; it is unknown; or it is no token of that service's header.
  t.is((await ask('GET', '/api/v1/volumes', { token: 'blue-token' })).status, 403)
  t.is((await ask('GET', '/api/v1/volumes', { token: 'green-token' })).status, 401)
  t.is(
    (await asOurs('GET', '/api/v1/volumes', { as: null, headers: { authorization: 'Bearer red-token' } })).status,
    401,
  )
  t.is((await ask('GET', '/api/v1/audit')).status, 403)
  const asked = identity.seen.filter(({ headers }) => headers['x-subject-token'] === 'red-token')
  t.is(asked.length, 1)
  identity.server.closeAllConnections()
  await new Promise((resolve) => identity.server.close(resolve))
  t.is((await ask('GET', '/api/v1/volumes', { token: 'green-token' })).status, 503)
})
