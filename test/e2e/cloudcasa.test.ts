import { join, resolve } from 'node:path'
import test from 'ava'
import { type Answer, startFleet, type TestFleet } from '../harness/fleet.ts'
import { readExchanges, replay } from '../harness/replay.ts'
import { until } from '../harness/until.ts'

const EXCHANGES = resolve(import.meta.dirname, '../../control-plane/dialects/cloudcasa/exchanges')
/** Within which a revocation is effective on every replica. */
const REVOKED_WITHIN_MS = 1_000

interface Sent {
  readonly token?: string
  readonly body?: unknown
  readonly etag?: string
  readonly plane?: number
}

async function send(fleet: TestFleet, method: string, path: string, { token, body, etag, plane }: Sent = {}) {
  const response = await fetch(fleet.url(plane) + path, {
    method,
    headers: {
      authorization: `Bearer ${token ?? fleet.token}`,
      ...(etag === undefined ? {} : { 'if-match': etag }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const answer: Answer = { status: response.status, headers: response.headers, body: text && JSON.parse(text) }
  return answer
}

test.serial("a tenant's life, over two replicas and an agent", async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'alpha', driver: 'sim' }], planes: 2 })
  t.deepEqual(await replay(await readExchanges(join(EXCHANGES)), { baseUrl: fleet.url(), token: fleet.token }), [])

  const make = async (collection: string, body: object, token?: string) => {
    const answer = await send(fleet, 'POST', `/api/v1/${collection}`, { body, ...(token && { token }) })
    t.is(answer.status, 201, JSON.stringify(answer.body))
    return answer.body
  }
  const alice = await make('users', { name: 'alice', password: 'correct horse' })
  const bob = await make('users', { name: 'bob', password: 'battery staple' })
  const red = await make('usergroups', { name: 'red', users: [alice._id] })
  const blue = await make('usergroups', { name: 'blue', users: [bob._id] })
  const aliceKey = await make('apikeys', { name: 'laptop', user: alice._id, role: 'operator' })
  const bobKey = await make('apikeys', { name: 'laptop', user: bob._id, role: 'operator' })

  // A login is worth the same.
  const login = await send(fleet, 'POST', '/api/v1/login', { body: { username: 'alice', password: 'correct horse' } })
  t.is(login.status, 200, JSON.stringify(login.body))

  const datasets = (token: string, plane = 1) => send(fleet, 'GET', '/api/v1/datasets/data', { token, plane })
  t.is((await send(fleet, 'POST', '/api/v1/datasets', { token: aliceKey.token, body: { name: 'data' } })).status, 201)
  t.is((await datasets(aliceKey.token)).status, 200)
  t.is((await datasets(bobKey.token)).status, 404)
  const seen = await send(fleet, 'GET', '/api/v1/usergroups', { token: bobKey.token })
  t.deepEqual(
    seen.body._items.map((group: { _id: string }) => group._id),
    [blue._id],
  )

  // Rights that shrink and keys that end do so on the other replica too.
  const acls = { acls: [{ user: alice._id, role: 'viewer' }] }
  const path = `/api/v1/usergroups/${red._id}`
  t.is((await send(fleet, 'POST', `${path}/action/update-acls`, { body: acls })).status, 200)
  // An order that changes nothing, should it still be taken.
  const order = () => send(fleet, 'DELETE', '/api/v1/datasets/nothing', { token: aliceKey.token, plane: 1 })
  await until('a viewer may no longer order', async () => (await order()).status === 403, REVOKED_WITHIN_MS)
  t.is((await send(fleet, 'DELETE', `/api/v1/apikeys/${bobKey._id}`, { etag: bobKey._etag })).status, 204)
  await until('the key has ended', async () => (await datasets(bobKey.token)).status === 401, REVOKED_WITHIN_MS)
  const disabled = await send(fleet, 'PATCH', `/api/v1/users/${alice._id}`, { body: { disabled: true }, etag: '*' })
  t.is(disabled.status, 200)
  await until('she is out', async () => (await datasets(aliceKey.token)).status === 401, REVOKED_WITHIN_MS)

  // A group that owns something stays; then it goes with its root, also on the host.
  const refused = await send(fleet, 'DELETE', path, { etag: '*' })
  t.is(refused.status, 409)
  t.deepEqual(refused.body._error.blockers, ['dataset data'])
  const asRed = { authorization: `Bearer ${fleet.token}`, 'x-holdfast-group': 'red' }
  t.is((await fetch(`${fleet.url()}/api/v1/datasets/data`, { method: 'DELETE', headers: asRed })).status, 204)
  const deleted = await send(fleet, 'DELETE', path, { etag: '*' })
  t.is(deleted.status, 204, JSON.stringify(deleted.body))
  await until('its root is gone', async () => {
    const [row] = await fleet.sql(`select count(*)::int as left from dataset where name like 'root-of-%'`)
    return row.left === 0
  })
  await fleet.quiet()
})
