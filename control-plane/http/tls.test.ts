import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { copyFileSync, readFileSync, utimesSync } from 'node:fs'
import { request } from 'node:https'
import { TLSSocket } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { createAuthority, type Pair } from '../../test/harness/certificates.ts'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'
import { namesOf } from './certificate.ts'

async function start(t: ExecutionContext) {
  const { authority, issue } = createAuthority(t)
  const own = authority('own')
  const server = issue('server', { by: own, subject: '/CN=localhost' })
  const tls = { ...server, clientCa: own.cert, clients: 'optional' as const }
  const listener = await startListener(t, { tls })
  const { port } = await listener.http.listenTls({ port: 0, bind: '127.0.0.1' })
  const ca = readFileSync(own.cert)
  function ask(given: { client?: Pair; headers?: Record<string, string>; maxVersion?: 'TLSv1.1' } = {}) {
    const { client, headers = {}, maxVersion } = given
    const shown = client ? { cert: readFileSync(client.cert), key: readFileSync(client.key) } : {}
    const version = maxVersion ? { maxVersion, minVersion: maxVersion, ciphers: 'ALL:@SECLEVEL=0' } : {}
    return new Promise<{ status: number; error: unknown; serial: string }>((resolve, reject) => {
      const options = { host: '127.0.0.1', servername: 'localhost', port, path: '/api/v1/datasets/root', agent: false }
      const asking = request({ ...options, ca, headers, ...shown, ...version }, (response) => {
        const { socket } = response
        const serial = socket instanceof TLSSocket ? socket.getPeerCertificate().serialNumber : ''
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          const { error } = JSON.parse(Buffer.concat(chunks).toString())
          resolve({ status: response.statusCode ?? 0, error, serial })
        })
      })
      asking.on('error', reject)
      asking.end()
    })
  }
  return { ask, authority, issue, own, tls, listener }
}

test('a certificate of our authority is a credential; one that is unknown, or of another authority, is a bad one', async (t) => {
  const { ask, authority, issue, own } = await start(t)
  const alice = issue('alice', { by: own, subject: '/O=example/CN=alice' })
  const stranger = issue('stranger', { by: own, subject: '/O=example/CN=stranger' })
  const foreign = issue('foreign', { by: authority('impostor'), subject: '/O=example/CN=alice' })
  t.like(await ask({ client: alice }), { status: 200 })
  t.like(await ask({ client: stranger }), { status: 401, error: 'UNAUTHORIZED' })
  t.like(await ask({ client: foreign }), { status: 401, error: 'UNAUTHORIZED' })
  t.like(await ask(), { status: 401, error: 'UNAUTHORIZED' })
  t.like(await ask({ headers: { authorization: 'Bearer viewer-token' } }), { status: 200 })
  t.like(await ask({ client: alice, headers: { authorization: 'Bearer wrong' } }), { status: 401 })
})

test('a browser sends a certificate by itself: pages of other sites cannot use it', async (t) => {
  const { ask, issue, own } = await start(t)
  const alice = issue('alice', { by: own, subject: '/O=example/CN=alice' })
  t.like(await ask({ client: alice, headers: { origin: 'https://evil.example' } }), { status: 403 })
  t.like(await ask({ client: alice, headers: { 'sec-fetch-site': 'cross-site' } }), { status: 403 })
  t.like(await ask({ client: alice, headers: { host: 'evil.example' } }), { status: 403 })
})

test('old TLS is refused', async (t) => {
  const { ask } = await start(t)
  await t.throwsAsync(ask({ maxVersion: 'TLSv1.1' }))
})

test('a certificate that is replaced is served without a restart, a broken one is not', async (t) => {
  const { ask, issue, own, tls, listener } = await start(t)
  const before = (await ask()).serial
  const next = issue('next', { by: own, subject: '/CN=localhost' })
  copyFileSync(next.cert, tls.cert)
  utimesSync(tls.cert, 1, 1)
  await until('the failure', () => listener.lines.some(({ event }) => event === 'tls.reload_failed'))
  t.is((await ask()).serial, before)
  copyFileSync(next.key, tls.key)
  await until('the new certificate', async () => (await ask()).serial !== before)
})

test('names are spelled as openssl prints them, and cannot be smuggled in', (t) => {
  const { authority, issue } = createAuthority(t)
  const alternatives = 'email:alice@example.com,URI:spiffe://example/alice,DNS:alice.example,IP:10.0.0.1'
  const { cert } = issue('alice', { by: authority('own'), subject: '/C=DE/O=Example, Inc/CN=alice', alternatives })
  const printed = execFileSync('openssl', ['x509', '-in', cert, '-noout', '-subject', '-nameopt', 'RFC2253'], {
    encoding: 'utf8',
  })
  const names = namesOf(new X509Certificate(readFileSync(cert)))
  t.is(names[0], printed.trim().replace(/^subject=/, 'subject:'))
  t.deepEqual(names.slice(1), ['email:alice@example.com', 'uri:spiffe://example/alice', 'dns:alice.example'])
  const smuggled = namesOf({ subject: 'CN=x', subjectAltName: 'DNS:"a, email:root@example.com", URI:x' })
  t.deepEqual(smuggled, ['subject:CN=x', 'dns:a, email:root@example.com', 'uri:x'])
  t.deepEqual(namesOf({ subject: 'CN=x', subjectAltName: 'DNS:a, evil' }), ['subject:CN=x'])
})
