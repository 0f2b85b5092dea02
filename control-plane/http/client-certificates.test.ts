import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, readFileSync, utimesSync } from 'node:fs'
import { createServer, request as plainRequest, type Server } from 'node:http'
import { Agent, request } from 'node:https'
import { text } from 'node:stream/consumers'
import { connect } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { createAuthority, type Pair } from '../../test/harness/certificates.ts'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'
import { CertificateName } from '../core/directory-words.ts'
import { createProxiedCertificates, readProxied } from './proxied-certificate.ts'

const TEST = '/lun/api/v1.0/clone_test'
const SUBJECT = '/O=example/CN=alice'

function portOf(server: Server): number {
  const address = server.address()
  return address !== null && typeof address === 'object' ? address.port : 0
}

/** A listener as operators have it: client certificates are required, and there is a list of revoked ones. */
async function start(t: ExecutionContext) {
  const { authority, issue, revocations } = createAuthority(t)
  const own = authority('own')
  const server = issue('server', { by: own, subject: '/CN=localhost' })
  const alice = issue('alice', { by: own, subject: SUBJECT })
  const crl = revocations(own, [])
  const listener = await startListener(t, { tls: { ...server, clientCa: own.cert, clientCrl: crl } })
  const { port } = await listener.http.listenTls({ port: 0, bind: '127.0.0.1' })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())

  /** @returns whatever comes back of HTTP: nothing where the handshake was refused. */
  function bytes(client?: Pair): Promise<string> {
    const shown = client ? { cert: readFileSync(client.cert), key: readFileSync(client.key) } : {}
    return new Promise((resolve) => {
      let heard = ''
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...shown }, () => {
        socket.write(`GET ${TEST} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      })
      socket.on('data', (chunk) => {
        heard += chunk
      })
      socket.on('error', () => undefined)
      socket.on('close', () => resolve(heard))
    })
  }

  /** Over a connection that is kept. @returns the status; rejects where there is no answer. */
  function ask(client: Pair, given = agent): Promise<number> {
    const shown = { cert: readFileSync(client.cert), key: readFileSync(client.key), rejectUnauthorized: false }
    return new Promise((resolve, reject) => {
      const asking = request({ host: '127.0.0.1', port, path: TEST, agent: given, ...shown }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0))
      })
      asking.on('error', reject).end()
    })
  }
  return { own, alice, authority, issue, revocations, crl, listener, bytes, ask }
}

test('a client without a certificate that is good gets nothing', async (t) => {
  const { own, alice, authority, issue, listener, bytes } = await start(t)
  t.regex(await bytes(alice), /^HTTP\/1\.1 200 [\s\S]*\{"status":"ok","message":"test"\}$/)
  t.is(await bytes(), '')
  t.is(await bytes(issue('foreign', { by: authority('impostor'), subject: SUBJECT })), '')
  t.is(await bytes(issue('expired', { by: own, subject: SUBJECT, isExpired: true })), '')
  t.is(await bytes(authority('alice-by-herself')), '')
  const forServers = { by: own, subject: SUBJECT, alternatives: 'DNS:localhost\nextendedKeyUsage=serverAuth' }
  t.is(await bytes(issue('server-only', forServers)), '')
  t.is(/^holdfast_tls_refused_total (\d+)$/m.exec((await listener.ask('GET', '/metrics')).text)?.[1], '5')
  t.true(listener.lines.some(({ event, reason }) => event === 'tls.refused' && typeof reason === 'string'))
  // One of ours that stands for nobody is a bad credential, told as such.
  t.regex(
    await bytes(issue('stranger', { by: own, subject: '/CN=stranger' })),
    /^HTTP\/1\.1 401 [\s\S]*"status":"error"/,
  )
})

test('what is revoked ends: open connections, sessions that would be resumed, and new ones', async (t) => {
  const { own, alice, authority, issue, revocations, crl, listener, bytes, ask } = await start(t)
  const bob = issue('bob', { by: own, subject: SUBJECT })
  const bobs = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => bobs.destroy())
  t.is(await ask(alice), 200)
  t.is(await ask(bob, bobs), 200)
  revocations(own, [bob])
  utimesSync(crl, 1, 1)
  await until('the new list', () => listener.lines.some(({ event }) => event === 'tls.reloaded'))
  await t.throwsAsync(ask(bob, bobs))
  t.is(await bytes(bob), '')
  t.is(await ask(alice), 200)

  copyFileSync(authority('successor').cert, own.cert)
  utimesSync(own.cert, 1, 1)
  const reloads = () => listener.lines.filter(({ event }) => event === 'tls.reloaded')
  await until('the new authority', () => reloads().length > 1)
  await t.throwsAsync(ask(alice))
})

test('what a proxy says of its clients is believed from its address alone, and read by nobody else', async (t) => {
  const header = { name: 'X-Client-DN', verified: 'X-Client-Verify' }
  const alice = { 'x-client-dn': 'CN=alice,O=example', 'x-client-verify': 'SUCCESS' }
  const trustedNetworks = [{ cidr: '127.0.0.0/8', role: 'admin' as const }]
  const behind = await startListener(t, { certificateHeader: { ...header, proxies: ['127.0.0.1'] }, trustedNetworks })
  const ask = async (headers: Record<string, string>) => (await behind.ask('GET', TEST, { headers, as: null })).status
  t.is(await ask(alice), 200)
  t.is((await behind.ask('POST', '/lun/api/v1.0/clone', { headers: alice, as: null, body: {} })).status, 403)
  t.is(await ask({ ...alice, 'x-client-dn': 'CN=mallory' }), 401)
  t.is(await ask({ ...alice, 'x-client-verify': 'FAILED:unable to verify' }), 401)
  t.is(await ask({ 'x-client-dn': 'CN=alice,O=example' }), 401)
  t.is(await ask({ ...alice, 'x-client-dn': 'gibberish' }), 401)
  // Nor is whoever comes through it anybody of the network that it stands in.
  t.is(await ask({}), 401)
  t.is(await ask({ ...alice, 'x-client-dn': '' }), 401)
  const proxies = ['127.0.0.1']
  const trusted = await startListener(t, { certificateHeader: { ...header, proxies }, trustedNetworks, proxies })
  t.is((await trusted.ask('GET', TEST, { as: null })).status, 401)
  t.is((await trusted.ask('GET', TEST, { as: null, headers: { via: '1.1 proxy' } })).status, 401)
  const forwarded = { 'x-forwarded-for': '127.9.9.9' }
  t.is((await trusted.ask('GET', TEST, { as: null, headers: forwarded })).status, 200)

  const elsewhere = await startListener(t, { certificateHeader: { ...header, proxies: ['10.0.0.1'] } })
  t.is((await elsewhere.ask('GET', TEST, { headers: alice, as: null })).status, 401)
  t.is((await elsewhere.ask('GET', TEST, { headers: alice })).status, 200)
  const unconfigured = await startListener(t)
  t.is((await unconfigured.ask('GET', TEST, { headers: alice, as: null })).status, 401)
})

test('headers of certificates are taken out of every request; one that comes twice is worth nothing', async (t) => {
  const header = { name: 'X-Client-DN', verified: 'X-Client-Verify', proxies: ['127.0.0.1'] }
  const proxied = createProxiedCertificates(header)
  const server = createServer((request, response) => {
    proxied.take(request)
    const { headers, rawHeaders, headersDistinct } = request
    response.end(JSON.stringify({ told: proxied.of(request), seen: [headers, rawHeaders, headersDistinct] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  async function ask(subjects: readonly string[]) {
    const asking = plainRequest({ host: '127.0.0.1', port: portOf(server), agent: false })
    asking.setHeader('X-Client-DN', subjects)
    asking.setHeader('x-client-verify', 'SUCCESS')
    asking.setHeader('x-other', 'kept')
    const [response] = await once(asking.end(), 'response')
    return JSON.parse(await text(response))
  }
  const { told, seen } = await ask(['CN=alice'])
  t.deepEqual(told.names, ['subject:CN=alice'])
  t.notRegex(JSON.stringify(seen), /alice|SUCCESS/)
  t.false('x-client-dn' in seen[0] || 'x-client-dn' in seen[2])
  t.is(JSON.stringify(seen).match(/kept/g)?.length, 3)
  const twice = await ask(['CN=alice', 'CN=alice'])
  t.is(twice.told, 'bad')
  t.notRegex(JSON.stringify(twice.seen), /alice/)
})

test('a proxy may pass on a subject, escaped PEM, or bytes as in RFC 9440', (t) => {
  const { authority, issue } = createAuthority(t)
  const own = authority('own')
  const pem = readFileSync(issue('alice', { by: own, subject: SUBJECT }).cert, 'utf8')
  const certificate = new X509Certificate(pem)
  const fingerprint = `sha256:${certificate.fingerprint256.replaceAll(':', '').toLowerCase()}`
  for (const value of [encodeURIComponent(pem), `:${certificate.raw.toString('base64')}:`]) {
    t.like(readProxied(value), { names: ['subject:CN=alice,O=example', 'dns:localhost', fingerprint] })
  }
  t.is(CertificateName.parse(`sha256:${certificate.fingerprint256}`), fingerprint)
  t.false(CertificateName.safeParse('sha256:abc').success)
  t.like(readProxied('CN=Zoë,O=example'), { names: ['subject:CN=Zoë,O=example'] })
  t.like(readProxied(Buffer.from('CN=Zoë').toString('latin1')), { names: ['subject:CN=Zoë'] })
  const expired = readFileSync(issue('old', { by: own, subject: SUBJECT, isExpired: true }).cert, 'utf8')
  for (const bad of [encodeURIComponent(expired), ':AAAA:', '-----BEGIN%20CERTIFICATE-----%zz', 'alice', 'x y=z']) {
    t.is(readProxied(bad), 'bad', bad)
  }
  for (const nothing of ['', '(null)']) t.is(readProxied(nothing), undefined)
})
