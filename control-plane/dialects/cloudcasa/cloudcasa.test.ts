import { join } from 'node:path'
import test from 'ava'
import { startDirectoryListener } from '../../../test/harness/directory.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { readExchanges, replay } from '../../../test/harness/replay.ts'

const GROUPS = '/api/v1/usergroups'
const NO_ETAG =
  '{"_error":{"code":428,"message":"To edit a document its etag must be provided using the If-Match header"},"_status":"ERR"}'
const OTHER_ETAG = '{"_error":{"code":412,"message":"Client and server etags don\'t match"},"_status":"ERR"}'

test('the documented exchanges, over a real directory', async (t) => {
  const { url, admin } = await startDirectoryListener(t)
  const exchanges = await readExchanges(join(import.meta.dirname, 'exchanges'))
  t.is(exchanges.length, 4)
  t.deepEqual(await replay(exchanges, { baseUrl: url, token: admin }), [])
})

test('a missing and a stale etag are answered to the letter, for every way of changing', async (t) => {
  const { ask } = await startListener(t)
  const { json } = await ask('POST', GROUPS, { body: { name: 'a' } })
  const body = { name: 'b' }
  const inBody = { _id: json._id, ...body }
  for (const [method, path, sent] of [
    ['PUT', `${GROUPS}/${json._id}`, body],
    ['PATCH', `${GROUPS}/${json._id}`, body],
    ['PUT', GROUPS, inBody],
    ['DELETE', `${GROUPS}/${json._id}`, undefined],
    ['DELETE', GROUPS, { _id: json._id }],
    ['DELETE', `${GROUPS}?_id=${json._id}`, undefined],
  ] as const) {
    t.like(await ask(method, path, { body: sent }), { status: 428, text: NO_ETAG })
    const headers = { 'if-match': '00fa3c48c58af86be8222514f2d6452a6a4a6949' }
    t.like(await ask(method, path, { body: sent, headers }), { status: 412, text: OTHER_ETAG })
  }
  t.is((await ask('GET', `${GROUPS}/${json._id}`)).json._etag, json._etag)
})

test('an etag may be bare, quoted, weak, one of many, or any', async (t) => {
  const { ask } = await startListener(t)
  const made = await ask('POST', GROUPS, { body: { name: 'a' } })
  let etag: string = made.json._etag
  t.is(made.headers.get('etag'), `"${etag}"`)
  const seen = new Set([etag])
  const spellings = [() => etag, () => `"${etag}"`, () => `W/"${etag}"`, () => `"x", "${etag}"`, () => '*']
  for (const spell of spellings) {
    const headers = { 'if-match': spell() }
    const changed = await ask('PATCH', `${GROUPS}/${made.json._id}`, { body: { name: 'a' }, headers })
    t.is(changed.status, 200, changed.text)
    etag = changed.json._etag
    t.is(changed.headers.get('etag'), `"${etag}"`)
    seen.add(etag)
  }
  // An edit that changes nothing is a new version too: whoever else held the old one must look again.
  t.is(seen.size, 1 + spellings.length)
})

test('every failure wears the envelope', async (t) => {
  const { ask } = await startListener(t)
  for (const [status, method, path, init] of [
    [401, 'GET', GROUPS, { as: null }],
    [403, 'POST', GROUPS, { as: 'viewer', body: { name: 'a' } }],
    [404, 'GET', `${GROUPS}/624e188b47ea96df6df16c22`, {}],
    [404, 'GET', `${GROUPS}/not-an-id`, {}],
    [404, 'GET', `${GROUPS}/624e188b47ea96df6df16c22/no/such/thing`, {}],
    [405, 'PATCH', GROUPS, {}],
    [413, 'POST', GROUPS, { body: { name: 'a'.repeat(1_100_000) } }],
    [422, 'POST', GROUPS, { body: '{"name": ' }],
    [422, 'POST', GROUPS, { body: [] }],
    [422, 'POST', GROUPS, {}],
  ] as const) {
    const { status: answered, json, text } = await ask(method, path, init)
    t.is(answered, status, `${method} ${path}: ${text}`)
    t.like(json, { _status: 'ERR', _error: { code: status } })
    t.is(status === 422, json._issues !== undefined)
  }
})

test('a trailing slash never matters', async (t) => {
  const { ask } = await startListener(t)
  const made = await ask('POST', `${GROUPS}/`, { body: { name: 'a' } })
  t.is(made.status, 201)
  t.is((await ask('GET', `${GROUPS}/${made.json._id}/`)).status, 200)
})

test('all fields at fault are named, hostile names among them', async (t) => {
  const { ask } = await startListener(t)
  const body =
    '{"name":"","users":["x"],"tags":{"a":1},"acls":[{"user":"x","role":"root"}],"__proto__":1,"status":"x","_etag":"x"}'
  const { status, json } = await ask('POST', GROUPS, { body })
  t.is(status, 422)
  const named = Object.keys(json._issues).toSorted()
  t.deepEqual(named, ['__proto__', '_etag', 'acls', 'name', 'status', 'tags', 'users'])
})

test('a replayed creation does not show the secret again', async (t) => {
  const { ask } = await startListener(t)
  const create = () => ask('POST', '/api/v1/apikeys', { body: { name: 'k' }, headers: { 'idempotency-key': 'once' } })
  t.regex((await create()).json.token, /^hf_/)
  const again = await create()
  t.is(again.status, 201)
  t.false(again.text.includes('hf_'))
})
