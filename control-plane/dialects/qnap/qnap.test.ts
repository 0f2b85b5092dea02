import { join } from 'node:path'
import test from 'ava'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { readExchanges, replay } from '../../../test/harness/replay.ts'

/** `silent` is where the fake core's targets do not answer; the folders are the fake core's, too. */
const VARIABLES = {
  username: 'admin',
  password: 'secret',
  silent: '203.0.113.9',
  type: 'lxc',
  container: 'utest',
  restored: 'utest-again',
  localDirs: [
    { is_dir: true, name: 'test', type: 'd', write: true },
    { is_dir: true, name: 'dataset-backup@a', type: 'b', write: true, points: ['20260102T030405Z'] },
    { is_dir: false, name: 'notes.txt', type: 'f', write: false },
  ],
}

type Listener = Awaited<ReturnType<typeof startListener>>

async function logIn({ ask }: Listener, headers: Record<string, string> = {}) {
  const body = { username: 'admin', password: 'secret' }
  const answer = await ask('POST', '/api/v1/login', { as: null, body, headers })
  return { answer, cookie: answer.headers.get('set-cookie')?.split(';')[0] ?? '' }
}

test('the documented exchanges', async (t) => {
  const { url } = await startListener(t)
  const exchanges = await readExchanges(join(import.meta.dirname, 'exchanges'))
  t.deepEqual(await replay(exchanges, { baseUrl: url, token: 'operator-token', variables: VARIABLES }), [])
})

test('a session is refreshed by GET and PUT and ends with the logout, which takes the cookie away', async (t) => {
  const listener = await startListener(t)
  const { answer, cookie } = await logIn(listener)
  t.is(answer.headers.get('cache-control'), 'private, no-cache')
  const ask = (method: string, path: string) => listener.ask(method, path, { as: null, headers: { cookie } })
  for (const method of ['GET', 'PUT'])
    t.like(await ask(method, '/api/v1/login_refresh'), { status: 200, json: answer.json })
  const left = await ask('PUT', '/container-station/api/v1/logout/')
  t.like(left, { status: 200, json: { username: 'admin' } })
  t.regex(left.headers.get('set-cookie') ?? '', /^holdfast_session=; .*Max-Age=0$/)
  t.like(await ask('GET', '/api/v1/login_refresh'), { status: 401, json: { error: { code: 401 } } })
  t.like(await ask('PUT', '/api/v1/logout'), { status: 401, json: { error: { code: 401 } } })
})

test('after too many failures even the right password waits', async (t) => {
  const listener = await startListener(t)
  const attempt = (password: string) =>
    listener.ask('POST', '/api/v1/login', { as: null, body: { username: 'admin', password } })
  for (let n = 0; n < 10; n += 1) t.is((await attempt('wrong')).status, 401)
  const refused = await attempt('secret')
  t.like(refused, { status: 429, json: { error: { code: 429 } } })
  t.is(refused.headers.get('retry-after'), '42')
})

test('pages of other sites can neither log in nor log out', async (t) => {
  const listener = await startListener(t)
  const { cookie } = await logIn(listener)
  for (const headers of [{ origin: 'http://evil.example' }, { origin: 'null' }, { 'sec-fetch-site': 'cross-site' }]) {
    t.like((await logIn(listener, headers)).answer, { status: 403, json: { error: { code: 403 } } })
    t.is((await listener.ask('PUT', '/api/v1/logout', { as: null, headers: { cookie, ...headers } })).status, 403)
  }
  t.is((await logIn(listener, { origin: listener.url })).answer.status, 200)
})

test('the cookie is for encrypted connections only where the client has one', async (t) => {
  const direct = await startListener(t)
  const https = { 'x-forwarded-proto': 'https' }
  t.notRegex((await logIn(direct, https)).answer.headers.get('set-cookie') ?? '', /Secure/)
  const proxied = await startListener(t, { proxies: ['127.0.0.1'] })
  t.regex((await logIn(proxied, https)).answer.headers.get('set-cookie') ?? '', /; Secure$/)
  t.notRegex((await logIn(proxied)).answer.headers.get('set-cookie') ?? '', /Secure/)
})
