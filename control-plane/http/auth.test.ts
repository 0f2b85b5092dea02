import { request as httpRequest } from 'node:http'
import test, { type ExecutionContext } from 'ava'
import { WebSocket } from 'ws'
import { startListener } from '../../test/harness/fake-listener.ts'
import type { Role } from '../core/caller.ts'
import { createAddressSet, createNetworkCredentials, parseTrustedNetworks } from './networks.ts'
import type { AnyRoute } from './route.ts'

const EVERYWHERE = [{ cidr: '127.0.0.0/8', role: 'admin' }] as const

/** Sessions begin and end here: core looks at the credential itself. What each says to a request without one. */
const SELF_CHECKED: Readonly<Record<string, number>> = { login: 400, getLogin: 401, refreshLogin: 401, logout: 401 }

/** The credential is in the body, where no browser puts one by itself. */
const CREDENTIAL_IN_BODY: Readonly<Record<string, number>> = { enrolHost: 400 }

/** Of the directory everybody may change what is its own: keys, and the password of the user it is. Core decides which those are. */
const OWN_THINGS = /^(create|replace|edit|delete)ApiKey(InCollection)?$|^(replace|edit)User(InCollection)?$/

/** Asked by POST all the same, as its document has it. */
const CHANGES_NOTHING: ReadonlySet<string> = new Set(['cloneTestByPost'])

/** Public, but what the path names is not there. */
const ABSENT: Readonly<Record<string, number>> = { getAsset: 404 }

function methodOf(route: AnyRoute): string {
  return 'method' in route ? route.method : 'GET'
}

/** A path that matches the route, for things that do not exist. */
function pathOf(route: AnyRoute): string {
  return route.path.replaceAll(/:[^/]+/g, '01900000-0000-7000-8000-00000000dead')
}

function headersOf(route: AnyRoute): Record<string, string> {
  return route.kind === 'stream' ? { accept: 'text/event-stream' } : {}
}

/** fetch hides Host and the Sec- headers; this sends what it is told. */
function askAsBrowser(
  t: ExecutionContext,
  port: number,
  headers: Record<string, string>,
  method = 'GET',
): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', path: '/api/v1/datasets', method, headers, agent: false }
    const request = httpRequest(options, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    t.teardown(() => request.destroy())
    request.on('error', reject)
    request.end()
  })
}

/** @returns 101, or the status of the refusal. */
function upgrade(
  t: ExecutionContext,
  url: string,
  options: { headers?: Record<string, string>; protocols?: string[] },
) {
  return new Promise<{ status: number; protocol: string }>((resolve) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/events`, options.protocols ?? [], {
      headers: options.headers ?? {},
    })
    t.teardown(() => socket.terminate())
    socket.on('open', () => resolve({ status: 101, protocol: socket.protocol }))
    socket.on('unexpected-response', (_request, response) => {
      response.resume()
      resolve({ status: response.statusCode ?? 0, protocol: '' })
    })
    socket.on('error', () => {})
  })
}

test('no route but the public ones answers without credentials, and each says so in its dialect', async (t) => {
  const { ask, dialects } = await startListener(t)
  for (const dialect of dialects) {
    for (const route of dialect.routes) {
      const answer = await ask(methodOf(route), pathOf(route), { as: null, headers: headersOf(route) })
      const label = `${dialect.name} ${route.operation}`
      if (route.access === 'public') {
        const refusal = { ...SELF_CHECKED, ...CREDENTIAL_IN_BODY, ...ABSENT }[route.operation]
        t.is(answer.status, refusal ?? 200, label)
        if (refusal !== undefined) t.notThrows(() => dialect.errorSchema.parse(answer.json), label)
        continue
      }
      t.is(answer.status, 401, label)
      t.is(answer.headers.get('www-authenticate'), 'Bearer', label)
      t.notThrows(() => dialect.errorSchema.parse(answer.json), label)
    }
  }
})

test('no route answers a role below its own', async (t) => {
  const { ask, dialects } = await startListener(t)
  const below: Record<Role, Role | undefined> = { viewer: undefined, operator: 'viewer', admin: 'operator' }
  for (const dialect of dialects) {
    for (const route of dialect.routes) {
      const lesser = route.access === 'public' ? undefined : below[route.access]
      if (!lesser) continue
      const answer = await ask(methodOf(route), pathOf(route), { as: lesser })
      t.is(answer.status, 403, `${dialect.name} ${route.operation}`)
      t.notThrows(() => dialect.errorSchema.parse(answer.json))
    }
  }
})

test('every mutation needs an operator at least, but for what is the own of who asks', async (t) => {
  const { dialects } = await startListener(t)
  const routes = dialects.flatMap((dialect) => dialect.routes)
  const loose = routes.filter(
    (route) =>
      methodOf(route) !== 'GET' &&
      route.access !== 'operator' &&
      route.access !== 'admin' &&
      !CHANGES_NOTHING.has(route.operation) &&
      !(route.operation in SELF_CHECKED && route.sameSite) &&
      !(route.operation in CREDENTIAL_IN_BODY) &&
      !(route.access === 'viewer' && OWN_THINGS.test(route.operation)),
  )
  t.deepEqual(loose, [])
})

test('credentials come before validation: a stranger learns nothing about bodies', async (t) => {
  const { ask } = await startListener(t)
  t.is((await ask('POST', '/api/v1/datasets', { as: null, body: '{' })).status, 401)
  t.is((await ask('POST', '/api/v1/datasets', { as: 'viewer', body: '{' })).status, 403)
})

test('X-Auth-Token is as good as a bearer token', async (t) => {
  const { ask } = await startListener(t)
  t.is((await ask('GET', '/api/v1/datasets', { as: null, headers: { 'x-auth-token': 'viewer-token' } })).status, 200)
})

test('a credential that is shown must hold, on a trusted network too', async (t) => {
  const { ask } = await startListener(t, { trustedNetworks: EVERYWHERE })
  t.is((await ask('GET', '/api/v1/datasets', { as: null })).status, 200)
  t.is((await ask('GET', '/api/v1/datasets', { as: null, headers: { authorization: 'Bearer wrong' } })).status, 401)
  t.is((await ask('GET', '/api/v1/datasets', { as: null, headers: { authorization: 'Basic YTpi' } })).status, 401)
  t.is((await ask('GET', '/api/v1/datasets', { as: null, headers: { 'x-auth-token': '' } })).status, 401)
  t.is(
    (await ask('GET', '/api/v1/datasets?token=admin-token', { as: null, headers: { 'x-auth-token': 'x' } })).status,
    401,
  )
})

test('a token in the query string is no credential', async (t) => {
  const { ask } = await startListener(t)
  t.is((await ask('GET', '/api/v1/datasets?token=admin-token&access_token=admin-token', { as: null })).status, 401)
})

test('a trusted network gives its role and no more', async (t) => {
  const { ask } = await startListener(t, { trustedNetworks: [{ cidr: '127.0.0.1', role: 'viewer' }] })
  t.is((await ask('GET', '/api/v1/datasets', { as: null })).status, 200)
  t.is((await ask('POST', '/api/v1/datasets', { as: null, body: { name: 'a' } })).status, 403)
})

test('X-Forwarded-For counts only from a configured proxy, and only its nearest foreign hop', async (t) => {
  const trustedNetworks = [{ cidr: '10.0.0.0/8', role: 'viewer' }] as const
  const forged = { 'x-forwarded-for': '10.1.1.1' }
  const direct = await startListener(t, { trustedNetworks })
  t.is((await direct.ask('GET', '/api/v1/datasets', { as: null, headers: forged })).status, 401)
  const proxied = await startListener(t, { trustedNetworks, proxies: ['127.0.0.1', '10.9.0.0/16'] })
  const askWith = async (hops: string) =>
    (await proxied.ask('GET', '/api/v1/datasets', { as: null, headers: { 'x-forwarded-for': hops } })).status
  t.is(await askWith('10.1.1.1'), 200)
  t.is(await askWith('10.1.1.1, 10.9.0.1'), 200)
  t.is(await askWith('10.1.1.1, 203.0.113.9'), 401)
  t.is(await askWith('10.1.1.1, nonsense'), 401)
})

test('what a proxy hands on that nobody told us of stands for no network, not even its own', async (t) => {
  const { ask } = await startListener(t, { trustedNetworks: EVERYWHERE })
  const askWith = async (headers: Record<string, string>) =>
    (await ask('GET', '/api/v1/datasets', { as: null, headers })).status
  t.is(await askWith({}), 200)
  t.is(await askWith({ 'x-forwarded-for': '203.0.113.9' }), 401)
  t.is(await askWith({ forwarded: 'for=203.0.113.9' }), 401)
  t.is(await askWith({ via: '1.1 somewhere' }), 401)
})

test('a page of another site cannot use a trusted network', async (t) => {
  const { port } = await startListener(t, { trustedNetworks: EVERYWHERE })
  const host = `127.0.0.1:${port}`
  t.is(await askAsBrowser(t, port, { host }), 200)
  t.is(await askAsBrowser(t, port, { host, origin: `http://${host}` }), 200)
  t.is(await askAsBrowser(t, port, { host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }), 200)
  t.is(await askAsBrowser(t, port, { host, origin: 'http://evil.example' }), 403)
  t.is(await askAsBrowser(t, port, { host, origin: 'http://127.0.0.1:9' }), 403)
  t.is(await askAsBrowser(t, port, { host, origin: 'null' }), 403)
  t.is(await askAsBrowser(t, port, { host, 'sec-fetch-site': 'cross-site' }), 403)
  t.is(await askAsBrowser(t, port, { host, origin: 'http://evil.example' }, 'POST'), 403)
})

test('a token is not sent by a browser itself, so pages of other sites may use theirs', async (t) => {
  const { ask } = await startListener(t, { trustedNetworks: EVERYWHERE })
  const headers = { origin: 'https://console.example', host: 'elsewhere.example' }
  t.is((await ask('GET', '/api/v1/datasets', { headers })).status, 200)
})

test('network callers must name a host of ours', async (t) => {
  const { port } = await startListener(t, { trustedNetworks: EVERYWHERE, allowedHosts: ['fleet.lan:8080'] })
  for (const host of ['localhost', `localhost:${port}`, '127.0.0.1', '[::1]:80', 'fleet.lan', 'FLEET.lan:1']) {
    t.is(await askAsBrowser(t, port, { host }), 200, host)
  }
  for (const host of ['evil.example', 'localhost.evil.example', '10.0.0.1']) {
    t.is(await askAsBrowser(t, port, { host }), 403, host)
  }
})

test('WebSocket upgrades keep the same rules', async (t) => {
  const open = await startListener(t, { trustedNetworks: EVERYWHERE })
  t.is((await upgrade(t, open.url, {})).status, 101)
  t.is((await upgrade(t, open.url, { headers: { origin: 'http://evil.example' } })).status, 403)
  t.is((await upgrade(t, open.url, { headers: { origin: 'null' } })).status, 403)
  t.is((await upgrade(t, open.url, { headers: { 'sec-fetch-site': 'cross-site' } })).status, 403)
  t.is((await upgrade(t, open.url, { headers: { host: 'evil.example' } })).status, 403)
  const closed = await startListener(t)
  t.is((await upgrade(t, closed.url, {})).status, 401)
  t.is((await upgrade(t, closed.url, { headers: { authorization: 'Bearer viewer-token' } })).status, 101)
})

test('a browser shows its token as a subprotocol', async (t) => {
  const { url } = await startListener(t)
  const protocols = ['holdfast.v1', 'holdfast.token.viewer-token']
  t.deepEqual(await upgrade(t, url, { protocols }), { status: 101, protocol: 'holdfast.v1' })
  t.is((await upgrade(t, url, { protocols: ['holdfast.token.viewer-token'] })).status, 101)
  t.is((await upgrade(t, url, { protocols: ['holdfast.v1', 'holdfast.token.wrong'] })).status, 401)
})

test('the narrowest trusted network decides', (t) => {
  const shownBy = createNetworkCredentials(
    parseTrustedNetworks('10.0.0.0/8=viewer, 10.1.0.0/16=admin,fd00::/8=operator'),
  )
  t.like(shownBy('10.1.2.3'), { kind: 'network', role: 'admin', id: '10.1.0.0/16' })
  t.like(shownBy('10.2.2.3'), { role: 'viewer' })
  t.like(shownBy('fd12::1'), { role: 'operator' })
  t.is(shownBy('fe80::1'), undefined)
  t.is(shownBy('not an address'), undefined)
})

test('networks that cannot be meant are refused with words', (t) => {
  for (const text of [
    '10.0.0.0/33=admin',
    '10.0.0.0/=admin',
    'ten=admin',
    '10.0.0.0/8',
    '10.0.0.0/8=king',
    '::1/129=admin',
  ]) {
    t.throws(() => parseTrustedNetworks(text), { message: /is not a network|the role must be/ }, text)
  }
  t.deepEqual(parseTrustedNetworks(''), [])
  t.true(createAddressSet(['127.0.0.0/8'])('127.9.9.9'))
})
