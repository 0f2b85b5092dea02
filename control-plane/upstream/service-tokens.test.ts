import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { ConfigError } from '../../shared/config.ts'
import { FleetError } from '../../shared/errors.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { createBlockHttp } from './block-http.ts'
import { lunOf } from './block-shapes.ts'
import { dial } from './dial.ts'
import { createLendingService } from './lending-service.ts'
import { readServiceCredentials } from './service-credentials.ts'
import { keystoneTokens, noTokens } from './service-tokens.ts'

const fault = (code: string, message?: RegExp) => ({ instanceOf: FleetError, code, ...(message ? { message } : {}) })

async function listen(t: ExecutionContext, serve: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  // as: a TCP server that listens has an AddressInfo
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v3`
}

/** Stubs that record: no Keystone gives these tokens, and no Cinder takes them. */
async function start(t: ExecutionContext, given: { readonly lifeMs?: number; readonly idleMs?: number } = {}) {
  const logins: unknown[] = []
  const shown: string[] = []
  const revoked = new Set<string>()
  const control = { login: 201, answer: (response: ServerResponse) => void response.end('{"volumes":[]}') }
  const identity = await listen(t, async (request, response) => {
    logins.push(await json(request))
    if (control.login !== 201) return void response.writeHead(control.login).end('{}')
    const expires = new Date(Date.now() + (given.lifeMs ?? 3_600_000)).toISOString()
    response.writeHead(201, { 'x-subject-token': `token-${logins.length}`, 'content-type': 'application/json' })
    response.end(JSON.stringify({ token: { expires_at: expires, project: { id: 'service' } } }))
  })
  const cinder = await listen(t, (request, response) => {
    const token = String(request.headers['x-auth-token'])
    shown.push(`${token} ${request.url}`)
    if (revoked.has(token)) return void response.writeHead(401).end('{"unauthorized":{"message":"no"}}')
    control.answer(response)
  })
  const dialled = dial(cinder, 2, { connectMs: 20_000, idleMs: given.idleMs ?? 20_000 })
  t.teardown(() => dialled.close())
  const credentials = { application_credential_id: 'id', application_credential_secret: 'hush' }
  const tokens = keystoneTokens({ url: identity, credentials })
  const service = createLendingService({ http: createBlockHttp(dialled), tokens })
  return { logins, shown, revoked, control, service, list: () => service.volumesNamed('red', 'n') }
}

test('one token serves until it ends or is not taken any more', async (t) => {
  const { logins, shown, revoked, control, list } = await start(t)
  await Promise.all([list(), list()])
  await list()
  t.is(logins.length, 1)
  const application_credential = { id: 'id', secret: 'hush' }
  t.deepEqual(logins[0], { auth: { identity: { methods: ['application_credential'], application_credential } } })
  t.is(shown[0], 'token-1 /v3/service/volumes/detail?all_tenants=1&name=n')
  revoked.add('token-1')
  await list()
  t.is(shown.at(-1)?.split(' ')[0], 'token-2')
  revoked.add('token-2')
  control.login = 401
  await t.throwsAsync(list(), fault('refused', /does not take the credentials/))
  control.login = 500
  await t.throwsAsync(list(), fault('unavailable', /identity service/))
  // What was refused once is asked again.
  control.login = 201
  await list()
  t.is(shown.at(-1)?.split(' ')[0], `token-${logins.length}`)
})

test('a token that is about to end is not used', async (t) => {
  const { logins, list } = await start(t, { lifeMs: 60_000 })
  await list()
  await list()
  t.true(logins.length > 1)
})

test('whatever the service answers is told in its own words, within bounds, and never for what it is not', async (t) => {
  const { control, list, service } = await start(t)
  const says = (status: number, body: string) => (response: ServerResponse) => void response.writeHead(status).end(body)
  control.answer = says(500, '{"computeFault":{"code":500,"message":"out of order"}}')
  await t.throwsAsync(list(), fault('unavailable', /500: out of order/))
  control.answer = says(403, '{"forbidden":{"message":"Policy does not allow"}}')
  await t.throwsAsync(list(), fault('refused', /Policy does not allow/))
  control.answer = says(400, '{"badRequest":{"message":"Invalid volume: it is attached"}}')
  await t.throwsAsync(service.deleteVolume('red', 'v'), fault('conflict', /it is attached/))
  control.answer = says(404, '{}')
  await service.deleteVolume('red', 'v')
  t.is(await service.volume('red', 'v'), undefined)
  control.answer = says(200, '<html>')
  await t.throwsAsync(list(), fault('unavailable', /something else/))
  control.answer = says(200, `{"volumes":"${'x'.repeat(9 * 2 ** 20)}"}`)
  await t.throwsAsync(list(), fault('unavailable', /more than can be meant/))
  control.answer = (response) => {
    response.writeHead(200, { 'content-length': '100' }).write('half')
    setTimeout(() => response.destroy(), 20)
  }
  await t.throwsAsync(list(), fault('unavailable'))
  // What a service lists although it was not asked for it is none of ours: that is what would be deleted.
  const volume = { id: 'v', status: 'available', size: 1, metadata: {} }
  control.answer = says(
    200,
    JSON.stringify({
      volumes: [
        { ...volume, name: 'n' },
        { ...volume, name: null },
      ],
    }),
  )
  t.is((await list()).length, 1)
  t.deepEqual(await service.volumesMarked('red', { name: 'holdfast-restore', value: 'x' }), [])
})

test('one that is silent is not waited for', async (t) => {
  const { control, list } = await start(t, { idleMs: 100 })
  control.answer = () => undefined
  await t.throwsAsync(list(), fault('unavailable', /does not answer/))
})

test('a LUN is what it is told to be, or refused', (t) => {
  const data = {
    ...{ target_portal: '192.0.2.1:3260', target_iqn: 'iqn.a', target_lun: 2, auth_method: null },
    ...{ target_portals: ['192.0.2.1:3260', '192.0.2.2:3260', '192.0.2.3:3260'] },
    ...{ target_iqns: ['iqn.a', 'iqn.a', 'iqn.b'], target_luns: [2, 2, 2] },
  }
  const told = (changed: object, driver_volume_type = 'iscsi') =>
    lunOf({ connection_info: { driver_volume_type, data: { ...data, ...changed } } }, 'iqn.2026-11.io.x:a')
  t.deepEqual(told({}), {
    ...{ portals: ['192.0.2.1:3260', '192.0.2.2:3260'], targetName: 'iqn.a', lun: 2, chap: null },
    initiator: 'iqn.2026-11.io.x:a',
  })
  const chap = { auth_method: 'CHAP', auth_username: 'u', auth_password: 's' }
  t.deepEqual(told(chap).chap, { user: 'u', secret: 's' })
  t.throws(() => told({}, 'rbd'), fault('refused', /'rbd'/))
  t.throws(() => told({ encrypted: true }), fault('refused', /encrypted/))
  t.throws(() => told({ auth_method: 'KRB5' }), fault('refused', /KRB5/))
  t.throws(() => told({ target_lun: 'two', auth_password: 'hush' }), fault('unavailable', /^(?!.*hush)/))
})

test('who we are is read from a file that not everybody reads', async (t) => {
  const path = join(temporaryDirectory(t), 'credentials')
  const write = (content: unknown, mode = 0o600) => {
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
    chmodSync(path, mode)
  }
  const user = { username: 'holdfast', password: 'hush', project_name: 'service' }
  write(user)
  t.like(readServiceCredentials(path), { ...user, user_domain_name: 'Default', project_domain_name: 'Default' })
  for (const [content, mode] of [
    [user, 0o604],
    [{ ...user, password: undefined }, 0o600],
    ['{"password": "hush", ', 0o600],
    [{ application_credential_id: 'hush' }, 0o600],
  ] as const) {
    write(content, mode)
    t.throws(() => readServiceCredentials(path), {
      instanceOf: ConfigError,
      message: /^(?!.*hush).*HOLDFAST_CINDER_CREDENTIALS/,
    })
  }
  t.throws(() => readServiceCredentials(`${path}-not`), { instanceOf: ConfigError })
  t.throws(() => noTokens().ready(), fault('refused', /no credentials for it/))
})
