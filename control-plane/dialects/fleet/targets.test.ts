import test, { type ExecutionContext } from 'ava'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { TargetPage, TargetView } from './target-schemas.ts'

const WEBDAV = { protocol: 'webdav', name: 'site', host: 'nas.lan', username: 'admin', password: 'hidden-password' }
const S3 = {
  protocol: 's3',
  name: 'cloud',
  host: 's3.lan',
  bucket: 'backups',
  access_key_id: 'key',
  password: 'hidden-s',
}
const HOST_KEY = `ssh-ed25519 SHA256:${'A'.repeat(43)}`
const LIMITS = {
  slots: 2,
  bytes_per_second: 1_000_000,
  windows: [{ days: [1, 2], from: '22:00', to: '06:00', bytes_per_second: 9_000_000 }],
  timezone: 'Europe/Berlin',
}

async function startWithTarget(t: ExecutionContext, body: object = WEBDAV) {
  const listener = await startListener(t)
  const made = await listener.ask('POST', '/api/v1/targets', { body })
  t.is(made.status, 201, made.text)
  return { ...listener, made, path: `/api/v1/targets/${made.json.id}` }
}

test('a target is made with what its protocol has, and shows all but its secrets', async (t) => {
  const { ask, fake, made, lines } = await startWithTarget(t, {
    ...WEBDAV,
    description: 'in the cellar',
    limits: LIMITS,
  })
  t.notThrows(() => TargetView.parse(made.json))
  const { id, group_id, created_at, ...shown } = made.json
  t.deepEqual(shown, {
    number: 1,
    name: 'site',
    description: 'in the cellar',
    protocol: 'webdav',
    host: 'nas.lan',
    port: 443,
    encrypt: true,
    base: '/',
    username: 'admin',
    verify: 'reread',
    limits: LIMITS,
    has_secret: true,
    recipients: [],
    has_identity: false,
  })
  t.like([...fake.targets.values()][0], {
    config: { limits: { bytesPerSecond: 1_000_000, windows: [{ bytesPerSecond: 9_000_000 }] } },
  })
  const told = [made, await ask('GET', '/api/v1/targets')].map(({ text }) => text).join('')
  t.notRegex(told + JSON.stringify(lines), /hidden-/)
})

test('every protocol but `local` can be made', async (t) => {
  const { ask, fake } = await startListener(t)
  const make = (body: object) => ask('POST', '/api/v1/targets', { body })
  t.like(await make(S3), { status: 201, json: { region: 'us-east-1', path_style: false, port: 443 } })
  const address = { ...S3, name: 'address', host: '2001:db8::7' }
  t.true((await make(address)).json.path_style)
  const { host: _, ...nowhere } = S3
  t.is((await make(nowhere)).json.error.field, 'host')
  const sftp = {
    ...WEBDAV,
    protocol: 'sftp',
    name: 'ssh',
    host_key: HOST_KEY,
    private_key: 'hidden',
    passphrase: 'hidden',
  }
  t.like(await make(sftp), { status: 201, json: { host_key: HOST_KEY, port: 22 } })
  t.deepEqual([...fake.secrets.values()].at(-1), {
    password: 'hidden-password',
    privateKey: 'hidden',
    passphrase: 'hidden',
  })
  t.like(await make({ protocol: 'local', name: 'here' }), {
    status: 400,
    json: { error: { code: 'invalid', field: 'protocol' } },
  })
  t.is((await make({ ...sftp, host_key: 'nonsense' })).json.error.field, 'host_key')
  t.is((await make({ ...WEBDAV, identity: 'nonsense' })).json.error.field, 'identity')
  t.is((await make(S3)).status, 409)
})

test('a change leaves alone what it does not name', async (t) => {
  const { ask, path, made, fake } = await startWithTarget(t, { ...WEBDAV, base: '/deep', limits: LIMITS })
  const change = (body: object, headers = {}) => ask('PUT', path, { body, headers })
  const { json } = await change({ description: 'anew' })
  t.deepEqual(json, { ...made.json, description: 'anew' })
  const ca = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'
  t.is((await change({ ca })).json.ca, ca)
  t.false('ca' in (await change({ ca: null })).json)
  t.like(await change({ username: 'a:b' }), { status: 400, json: { error: { field: 'username' } } })
  t.is((await change({ name: 'other', password: 'hidden-2' })).json.name, 'other')
  t.deepEqual([...fake.secrets.values()], [{ password: 'hidden-2' }])
  t.is((await change({ protocol: 'local' })).status, 400)
})

test('a host key is that of one server, and a secret that is empty goes', async (t) => {
  const identity = `AGE-SECRET-KEY-1${'Q'.repeat(58)}`
  const body = { ...WEBDAV, protocol: 'sftp', host_key: HOST_KEY, private_key: 'hidden', passphrase: 'hidden' }
  const { ask, path, fake } = await startWithTarget(t, body)
  const change = async (given: object) => (await ask('PUT', path, { body: given })).json
  t.is((await change({ base: '/b', host: 'NAS.lan' })).host_key, HOST_KEY)
  t.false('host_key' in (await change({ host: 'other.lan' })))
  t.is((await change({ host: 'third.lan', host_key: HOST_KEY })).host_key, HOST_KEY)
  t.false('host_key' in (await change({ port: 2222 })))
  await change({ passphrase: '', private_key: '' })
  t.deepEqual([...fake.secrets.values()], [{ password: 'hidden-password' }])
  t.is((await change({ identity })).error.field, 'identity')
  t.is((await change({ identity: '' })).has_identity, false)
})

test('core’s words for a member come back as the client’s', async (t) => {
  const { ask, path } = await startWithTarget(t)
  const { json } = await ask('PUT', path, { body: { protocol: 's3', bucket: 'backups' } })
  t.is(json.error.field, 'access_key_id')
  t.regex(json.error.message, /^access_key_id: /)
})

test('targets are found by uuid and number, and the other dialect’s `target` is another path', async (t) => {
  const { ask, made, path } = await startWithTarget(t)
  const list = await ask('GET', '/api/v1/targets/')
  t.notThrows(() => TargetPage.parse(list.json))
  t.deepEqual(list.json.items, [made.json])
  t.deepEqual((await ask('GET', '/api/v1/targets/1')).json, made.json)
  t.is((await ask('GET', '/api/v1/target/1')).json.ipaddr, 'nas.lan')
  t.deepEqual((await ask('GET', '/api/v1/targetsx')).json.error.code, 'not_found')
  t.is((await ask('GET', '/api/v1/target/1/nothing')).json.error.code, 404)
  const etag = made.headers.get('etag') ?? ''
  t.is((await ask('GET', path, { headers: { 'if-none-match': etag } })).status, 304)
  t.is((await ask('PUT', path, { body: {}, headers: { 'if-match': '"other"' } })).status, 412)
  t.is((await ask('DELETE', path, { headers: { 'if-match': '"other"' } })).status, 412)
  t.is((await ask('DELETE', path, { headers: { 'if-match': etag } })).status, 204)
  t.is((await ask('GET', path)).status, 404)
})

test('a target with points stays', async (t) => {
  const { ask, made, path } = await startWithTarget(t)
  const { json } = await ask('POST', '/api/v1/points', { body: { source: { dataset: 'a' }, target: made.json.id } })
  t.deepEqual((await ask('DELETE', path)).json.error.blockers, [json.id])
})

test('a target is asked whether it is there and what it has', async (t) => {
  const { ask, path } = await startWithTarget(t)
  t.deepEqual((await ask('POST', `${path}/ping`)).json, { alive: true, reason: null, free_bytes: 1000 })
  const { json } = await ask('GET', `${path}/files?path=/a/b/&limit=2`)
  t.is(json.next_cursor, '2')
  t.deepEqual(json.items, [
    { name: 'test', type: 'directory', size_bytes: 0, modified_at: null },
    { name: 'dataset-backup@a', type: 'directory', size_bytes: 0, modified_at: null, points: ['20260102T030405Z'] },
  ])
  t.is((await ask('GET', `${path}/files?path=a/../b`)).json.error.field, 'path')
  await ask('PUT', path, { body: { host: '203.0.113.9' } })
  t.like(await ask('POST', `${path}/ping`), { json: { alive: false, reason: 'does not answer', free_bytes: null } })
  t.is((await ask('GET', `${path}/files`)).status, 504)
})
