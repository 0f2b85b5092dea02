import test from 'ava'
import { WebSocket } from 'ws'
import { startFleet } from './harness/fleet.ts'
import { startStopwatch } from './harness/stopwatch.ts'
import { createTenant, createUser } from './harness/tenants.ts'
import { until } from './harness/until.ts'

test('tenants share a fleet and see nothing of each other', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'alpha', driver: 'sim' }] })
  const red = await createTenant(fleet, 'red')
  const blue = await createTenant(fleet, 'blue')
  const alice = await red.member('operator')
  const bob = await blue.member('operator')
  const ask = (
    who: { token: string },
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ) => fleet.call(method, path, body, { token: who.token, ...(headers ? { headers } : {}) })

  // Each finds a root of its own from its first request on.
  const roots = await Promise.all([alice, bob].map((who) => ask(who, 'GET', '/api/v1/datasets/root')))
  t.deepEqual(
    roots.map(({ status, body }) => [status, body.id]),
    [
      [200, 0],
      [200, 0],
    ],
  )
  t.not(roots[0]?.body.uuid, roots[1]?.body.uuid)

  // The same name, twice.
  for (const who of [alice, bob]) t.is((await ask(who, 'POST', '/api/v1/datasets', { name: 'data' })).status, 201)
  const ofAlice = await ask(alice, 'POST', '/api/v1/snapshots', { source: 'data', name: 'only-reds' })
  t.is(ofAlice.status, 201)
  const names = async (who: { token: string }) =>
    (await ask(who, 'GET', '/api/v1/datasets')).body.datasets.map(({ name }: { name: string }) => name)
  t.deepEqual(await names(alice), ['root', 'data', 'only-reds'])
  t.deepEqual(await names(bob), ['root', 'data'])

  // What is another's reads as what does not exist.
  for (const [method, path, body] of [
    ['GET', '/api/v1/datasets/NAME', undefined],
    ['GET', '/api/v1/snapshots/NAME', undefined],
    ['DELETE', '/api/v1/datasets/NAME', undefined],
    ['DELETE', '/api/v1/snapshots/NAME', undefined],
    ['POST', '/api/v1/clone', { source: 'NAME', destination: 'mine' }],
    ['POST', '/api/v1/snapshots/restore', { snapshot: 'NAME', source: '/', destination: '/a' }],
  ] as const) {
    const asked = async (name: string) => {
      const filled = body && JSON.parse(JSON.stringify(body).replace('NAME', name))
      const answer = await ask(bob, method, path.replace('NAME', name), filled)
      return { status: answer.status, body: JSON.stringify(answer.body).replaceAll(name, 'NAME') }
    }
    const theirs = await asked('only-reds')
    t.deepEqual(theirs, await asked('nobodys'), `${method} ${path}`)
    t.true(theirs.status >= 400)
  }

  // Jobs and events.
  const jobId = ofAlice.headers.get('x-job-id') ?? ''
  t.is((await ask(alice, 'GET', `/api/v1/jobs/${jobId}`)).status, 200)
  for (const [method, path] of [
    ['GET', ''],
    ['POST', '/cancel'],
    ['POST', '/retry'],
  ] as const) {
    t.is((await ask(bob, method, `/api/v1/jobs/${jobId}${path}`)).status, 404)
  }
  const jobsOf = async (who: { token: string }) => (await ask(who, 'GET', '/api/v1/jobs')).body.items
  t.deepEqual(
    (await jobsOf(bob)).map(({ dataset }: { dataset: { name: string } }) => dataset.name),
    ['data', 'root'],
  )
  t.false(JSON.stringify(await jobsOf(bob)).includes(alice.username))
  const events = (await ask(bob, 'GET', '/api/v1/events?since=0&timeout=0')).body.items
  t.true(events.length > 0)
  t.false(JSON.stringify(events).includes('only-reds'))
  const everything = (await fleet.call('GET', '/api/v1/events?since=0&timeout=0')).body.items
  t.true(JSON.stringify(everything).includes('only-reds'))
  const all = (await fleet.call('GET', '/api/v1/jobs?limit=3')).body
  t.is(all.items.length, 3)
  t.truthy(all.next_cursor)

  // Paths of hosts are not theirs.
  t.deepEqual((await ask(bob, 'GET', '/api/v1/hosts/alpha')).body.restore_paths, [])
  t.true((await fleet.call('GET', '/api/v1/hosts/alpha')).body.restore_paths.length > 0)
  const outside = { snapshot: 'only-reds', source: '/', destination: '/tmp/holdfast-tenancy' }
  const refused = await ask(alice, 'POST', '/api/v1/snapshots/restore', outside)
  t.like(refused, { status: 500, body: { error: 'WRITE_DESTINATION_FAILED' } })

  // Somebody with a role over the fleet acts where the header says, and on jobs of any group in their own.
  const boss = await createUser(fleet, 'admin')
  const inRed = { 'x-holdfast-group': 'red' }
  t.is((await ask(boss, 'GET', '/api/v1/datasets/only-reds', undefined, inRed)).status, 200)
  t.is((await ask(boss, 'GET', '/api/v1/datasets/only-reds')).status, 404)
  t.is((await ask(boss, 'DELETE', '/api/v1/snapshots/only-reds', undefined, inRed)).status, 204)
  await fleet.sql(`update job set state = 'failed' where id = $1`, [jobId])
  const again = await ask(boss, 'POST', `/api/v1/jobs/${jobId}/retry`)
  t.is(again.status, 202)
  t.is((await fleet.ended(again.body.id)).state, 'succeeded')
  t.is((await ask(alice, 'GET', '/api/v1/snapshots/only-reds')).status, 200)
  const watching = await createUser(fleet, 'viewer')
  t.is((await ask(watching, 'GET', `/api/v1/jobs/${jobId}`)).status, 200)
  t.is((await ask(watching, 'POST', `/api/v1/jobs/${jobId}/retry`)).status, 403)
  await fleet.sql(`insert into membership select id, $1, 'admin' from user_group where name = 'blue'`, [
    watching.userId,
  ])
  await until('the membership counts', async () => (await ask(watching, 'POST', '/api/v1/datasets', {})).status === 400)
  t.is((await ask(watching, 'POST', `/api/v1/jobs/${jobId}/retry`)).status, 403)

  // Groups that one may not act for and groups that are not there are the same.
  const forbidden = await ask(bob, 'GET', '/api/v1/datasets', undefined, inRed)
  t.is(forbidden.status, 403)
  t.deepEqual(forbidden.body, (await ask(bob, 'GET', '/api/v1/datasets', undefined, { 'x-holdfast-group': 'no' })).body)
  const nobody = await createUser(fleet, null)
  t.like(await ask(nobody, 'GET', '/api/v1/datasets'), {
    status: 403,
    body: { message: 'you have no role in any group' },
  })
})

/** What a revoked credential may still do, at most. */
const REVOKED_WITHIN_MS = 1_000

test('what is revoked on one replica ends on every other within a second, followers included', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'alpha', driver: 'sim' }], planes: 2 })
  const red = await createTenant(fleet, 'red')
  const status = async (token: string, plane: number) =>
    (await fleet.call('GET', '/api/v1/datasets', undefined, { token, plane })).status

  async function follow(token: string, plane: number) {
    const headers = { authorization: `Bearer ${token}` }
    const socket = new WebSocket(`${fleet.url(plane).replace('http', 'ws')}/api/v1/events`, { headers })
    t.teardown(() => socket.terminate())
    const closed = new Promise<number>((resolve) => socket.on('close', resolve))
    await new Promise((resolve) => socket.on('open', resolve))
    const stream = await fetch(`${fleet.url(plane)}/api/v1/events`, {
      headers: { ...headers, accept: 'text/event-stream' },
    })
    const poll = fetch(`${fleet.url(plane)}/api/v1/events?timeout=30`, { headers })
    return { closed, told: stream.text(), polled: poll.then((answer) => answer.status) }
  }

  const REVOCATIONS: Readonly<Record<string, string>> = {
    'the token is deleted': 'delete from access_token where user_id = $1',
    'the token expires now': 'update access_token set expires_at = now() where user_id = $1',
    'the user is disabled': 'update fleet_user set disabled = true where id = $1',
    'the membership ends': 'delete from membership where user_id = $1',
  }
  for (const [label, statement] of Object.entries(REVOCATIONS)) {
    const member = await red.member('viewer')
    for (const plane of [0, 1]) t.is(await status(member.token, plane), 200)
    const followers = await Promise.all([0, 1].map((plane) => follow(member.token, plane)))
    const stopwatch = startStopwatch()
    await fleet.sql(statement, [member.userId])
    for (const plane of [0, 1]) await until(label, async () => (await status(member.token, plane)) !== 200)
    const ends = await Promise.all(followers.flatMap(({ closed, told, polled }) => [closed, told, polled]))
    t.true(stopwatch.within(REVOKED_WITHIN_MS), `${label}: ${stopwatch}`)
    for (const end of ends)
      t.true(end === 4401 || end === 401 || end === 403 || String(end).includes('"unauthorized"'), `${label}: ${end}`)
  }

  // Nobody tells when a token's time has come.
  const member = await red.member('viewer')
  await fleet.sql(`update access_token set expires_at = now() + interval '700 ms' where user_id = $1`, [member.userId])
  const followers = await Promise.all([0, 1].map((plane) => follow(member.token, plane)))
  t.deepEqual(await Promise.all(followers.map(({ closed }) => closed)), [4401, 4401])
})
