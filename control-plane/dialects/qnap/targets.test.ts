import test from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import type { PageRequest } from '../../core/page.ts'
import { parseAddress, showAddress } from './target-address.ts'

const SITE = { name: 'testsite', ipaddr: '192.0.2.7:5000', username: 'admin', password: 'admin', base: '/' }
const DOCUMENTED = ['base', 'desc', 'encrypt', 'id', 'ipaddr', 'name', 'username']
const HOST_KEY = `ssh-ed25519 SHA256:${'A'.repeat(43)}`
const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'

test('a target answers exactly the documented members, in the documented shape', async (t) => {
  const { ask, fake } = await startListener(t)
  const made = await ask('POST', '/api/v1/target/', {
    body: `${JSON.stringify(SITE)}`,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
  t.is(made.status, 200)
  t.deepEqual(Object.keys(made.json).toSorted(), DOCUMENTED)
  t.deepEqual((await ask('GET', '/container-station/api/v1/target')).json, [made.json])
  t.like([...fake.targets.values()][0], {
    config: { protocol: 'webdav', host: '192.0.2.7', port: 5000, encrypt: false },
  })
  t.deepEqual([...fake.secrets.values()], [{ password: 'admin' }])
  t.deepEqual((await ask('DELETE', `/api/v1/target/${made.json.id}/`)).json, [made.json.id])
})

test('what is required is required by name', async (t) => {
  const { ask } = await startListener(t)
  for (const name of ['name', 'ipaddr', 'username', 'password'] as const) {
    const { [name]: _, ...body } = SITE
    const { status, json } = await ask('POST', '/api/v1/target', { body })
    t.is(status, 400)
    t.deepEqual(json, { error: { code: 400, message: `${name}: is required` } })
  }
  const s3 = await ask('POST', '/api/v1/target', { body: { ...SITE, protocol: 's3' } })
  t.is(s3.json.error.message, 'bucket: is required')
  const ftp = await ask('POST', '/api/v1/target', { body: { ...SITE, protocol: 'ftp' } })
  t.regex(ftp.json.error.message, /^protocol: /)
})

test('what core refuses is named as the client spelled it', async (t) => {
  const { ask } = await startListener(t)
  const colon = await ask('POST', '/api/v1/target', { body: { ...SITE, username: 'a:b' } })
  t.deepEqual(colon.json, { error: { code: 400, message: 'username: must not hold a colon' } })
  const s3 = { ...SITE, protocol: 's3', bucket: 'backups', username: '' }
  t.regex((await ask('POST', '/api/v1/target', { body: s3 })).json.error.message, /^username: /)
  const where = await ask('POST', '/api/v1/target', { body: { ...SITE, ipaddr: 'a_b c' } })
  t.regex(where.json.error.message, /^ipaddr: /)
})

test('other protocols show what they have beside, and never a secret', async (t) => {
  const { ask, fake, lines } = await startListener(t)
  const secrets = { password: 'hidden-password', private_key: 'hidden-key', passphrase: 'hidden-phrase' }
  const sftp = await ask('POST', '/api/v1/target', {
    body: { ...SITE, ...secrets, protocol: 'sftp', ipaddr: 'nas.lan', host_key: HOST_KEY, recipients: [RECIPIENT] },
  })
  const [base, desc, encrypt, id] = ['/', '', true, 1]
  const common = { base, desc, encrypt, id, ipaddr: 'nas.lan', name: 'testsite', username: 'admin' }
  t.deepEqual(sftp.json, { ...common, protocol: 'sftp', host_key: HOST_KEY, recipients: [RECIPIENT] })
  const s3 = await ask('POST', '/api/v1/target', {
    body: { ...SITE, ...secrets, name: 's', protocol: 's3', ipaddr: 's3.lan', bucket: 'backups', path_style: true },
  })
  t.like(s3.json, { protocol: 's3', ipaddr: 's3.lan', encrypt: true, bucket: 'backups', username: 'admin' })
  t.like(fake.targets.get([...fake.targets.keys()][1] ?? ''), {
    config: { port: 443, pathStyle: true, accessKeyId: 'admin' },
  })
  const address = { ...SITE, name: 'a', protocol: 's3', bucket: 'backups' }
  t.true((await ask('POST', '/api/v1/target', { body: address })).json.path_style, 'no name goes before an address')
  const changed = await ask('PUT', '/api/v1/target/1', { body: { password: 'hidden-anew' } })
  t.deepEqual(changed.json, sftp.json)
  t.like([...fake.secrets.values()][0], { password: 'hidden-anew', privateKey: 'hidden-key' })
  const told = [sftp, s3, changed, await ask('GET', '/api/v1/target')].map(({ text }) => text).join('')
  t.notRegex(told + JSON.stringify(lines), /hidden-/)
})

test('a changed encryption takes the port along where none was given', async (t) => {
  const { ask, fake } = await startListener(t)
  const { json } = await ask('POST', '/api/v1/target', { body: { ...SITE, ipaddr: 'nas.lan' } })
  const port = () => {
    const config = [...fake.targets.values()][0]?.config
    return config && 'port' in config ? config.port : undefined
  }
  t.is(port(), 80)
  const change = (body: object) => ask('PUT', `/api/v1/target/${json.id}`, { body })
  t.like(await change({ encrypt: true }), { status: 200, json: { ipaddr: 'nas.lan', encrypt: true } })
  t.is(port(), 443)
  await change({ ipaddr: 'nas.lan:8443' })
  t.like(await change({ encrypt: false }), { json: { ipaddr: 'nas.lan:8443', base: '/', username: 'admin' } })
  t.is(port(), 8443)
})

test('a target that changed meanwhile is 412, one that backups lie on is 409', async (t) => {
  const { ask, fake } = await startListener(t)
  const made = await ask('POST', '/api/v1/target', { body: SITE })
  const etag = made.headers.get('etag') ?? ''
  const path = `/api/v1/target/${made.json.id}`
  t.is((await ask('GET', path, { headers: { 'if-none-match': etag } })).status, 304)
  t.is((await ask('PUT', path, { body: { desc: 'a' }, headers: { 'if-match': etag } })).status, 200)
  t.like(await ask('PUT', path, { body: { desc: 'b' }, headers: { 'if-match': etag } }), {
    status: 412,
    json: { error: { code: 412 } },
  })
  t.is((await ask('DELETE', path, { headers: { 'if-match': etag } })).status, 412)
  const [target] = fake.targets.values()
  await ask('POST', '/api/v1/points', { body: { source: { dataset: 'root' }, target: target?.id } })
  const kept = await ask('DELETE', path)
  t.like(kept, { status: 409, json: { error: { code: 409 } } })
  t.deepEqual(kept.json.error.blockers, [...fake.points.keys()])
})

test('folders are listed in the document’s shape; viewers cannot write', async (t) => {
  const { ask } = await startListener(t)
  const { json } = await ask('POST', '/api/v1/target', { body: SITE })
  for (const path of [`${json.id}/dirs`, `${json.id}/dirs/`, `${json.id}/dirs/a/b%20c/`, 'local/dirs/a?host=host-a']) {
    const { status, json: entries } = await ask('GET', `/container-station/api/v1/target/${path}`)
    t.is(status, 200, path)
    t.deepEqual(entries, [
      { is_dir: true, name: 'test', type: 'd', write: true },
      { is_dir: true, name: 'dataset-backup@a', type: 'b', write: true, points: ['20260102T030405Z'] },
      { is_dir: false, name: 'notes.txt', type: 'f', write: false },
    ])
  }
  const seen = await ask('GET', '/api/v1/target/local/dirs', { as: 'viewer' })
  t.false(seen.json.some(({ write }: { write: boolean }) => write))
  t.is((await ask('GET', '/api/v1/target/local/dirs?host=nobody')).status, 404)
  t.is((await ask('GET', '/api/v1/target/local/dirs/a/%2e%2e%2f%2e%2e')).status, 400)
  t.is((await ask('PUT', '/api/v1/target/local/dirs/a', { body: {} })).status, 405)
})

test('a folder of up to 10,000 entries is listed whole, however few of them an agent tells at a time', async (t) => {
  const { core } = await startListener(t)
  const full = Array.from({ length: 10_001 }, (_, n) => {
    return { name: `file-${n}`, kind: 'file', sizeBytes: n, modifiedAt: null } as const
  })
  let count = 0
  const paged = {
    ...core.targets,
    async browse(_caller: unknown, _id: string, _path: string, { cursor = '0' }: PageRequest) {
      const end = Math.min(Number(cursor) + 100, count)
      return { items: full.slice(Number(cursor), end), nextCursor: end < count ? String(end) : null }
    },
  }
  const { ask } = await startListener(t, { core: { targets: paged } })
  await ask('POST', '/api/v1/target', { body: SITE })
  for (const length of [99, 1_001, 10_000]) {
    count = length
    const { status, json } = await ask('GET', '/api/v1/target/1/dirs')
    t.is(status, 200, String(length))
    t.is(json.length, length)
    t.is(json.at(-1).name, `file-${length - 1}`)
  }
  count = 10_001
  t.is((await ask('GET', '/api/v1/target/1/dirs')).status, 413)
})

test('a target that says no is not the client without a right', async (t) => {
  const { core } = await startListener(t)
  const refusing = {
    ...core.targets,
    browse: async () => {
      throw new FleetError('refused', 'does not accept the user name and password')
    },
    ping: () => new Promise<never>(() => {}),
  }
  const { ask } = await startListener(t, { core: { targets: refusing } })
  await ask('POST', '/api/v1/target', { body: SITE })
  const dirs = await ask('GET', '/api/v1/target/1/dirs/')
  t.is(dirs.status, 503)
  t.is(dirs.json.error.message, 'Service Unavailable: 192.0.2.7:5000: does not accept the user name and password')
  const startedAt = performance.now()
  t.like(await ask('GET', '/api/v1/target/1/ping'), { status: 200, json: { alive: false } })
  t.true(performance.now() - startedAt < 15_000)
})

test('addresses come back as they were meant', (t) => {
  const shown = (host: string, port: number, encrypt = false) =>
    showAddress({
      protocol: 'webdav',
      name: 'a',
      host,
      port,
      encrypt,
      base: '/',
      username: 'a',
      verify: 'reread',
      limits: { slots: 1, windows: [], timezone: 'UTC' },
    })
  t.deepEqual(parseAddress('nas.lan'), { host: 'nas.lan', port: undefined })
  t.deepEqual(parseAddress('192.0.2.7:5000'), { host: '192.0.2.7', port: 5000 })
  t.deepEqual(parseAddress('2001:db8::1'), { host: '2001:db8::1', port: undefined })
  t.deepEqual(parseAddress('[2001:db8::1]:5006'), { host: '2001:db8::1', port: 5006 })
  for (const wrong of ['', ':80', 'a:', 'a:0', 'a:65536', 'a:b', '[::1', 'http://a', 'a:1:']) {
    const parsed = parseAddress(wrong)
    t.true(parsed === undefined || !/^[A-Za-z0-9.%-]+$/.test(parsed.host), wrong)
  }
  t.is(shown('nas.lan', 80), 'nas.lan')
  t.is(shown('nas.lan', 443), 'nas.lan:443')
  t.is(shown('nas.lan', 443, true), 'nas.lan')
  t.is(shown('2001:db8::1', 5006), '[2001:db8::1]:5006')
  t.is(shown('2001:db8::1', 80), '2001:db8::1')
})
