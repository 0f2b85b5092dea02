import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { jetstream } from '@nats-io/jetstream'
import test, { type ExecutionContext } from 'ava'
import { connect, jwtAuthenticator, type Msg, type NatsConnection, nkeys } from 'nats'
import { KeptCredentials } from '../../agent/identity/kept-credentials.ts'
import { newId } from '../../shared/ids.ts'
import { WIRE_VERSION } from '../../shared/wire/messages.ts'
import { type NatsTls, natsOptions } from '../../shared/wire/nats-credentials.ts'
import { EVENT_STREAM, INGEST_CONSUMER, WORK_STREAM, workConsumer } from '../../shared/wire/streams.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { TestProcess } from '../harness/process.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { startStopwatch } from '../harness/stopwatch.ts'
import { until } from '../harness/until.ts'

const DENIED = /permissions violation/i
const TURNED_AWAY = /authorization|authentication/i
/** Twice as many as a host may leave behind, and then some: each costs this process 20 ms. */
const TOO_MANY_KEYS = 120
const SIM = { driver: 'sim' as const }

/** Of those that leave both hosts as they were. */
const shared = sharedFleet(test, () => ({ agents: ['a', 'b'].map((name) => ({ name, ...SIM })) }))

/** What an agent keeps on its disk: all that an intruder who took over its host can use. */
function credentialsOf(fleet: TestFleet, agent: string): KeptCredentials {
  return KeptCredentials.parse(JSON.parse(readFileSync(join(fleet.state(agent), 'credentials.json'), 'utf8')))
}

async function connectWith(t: ExecutionContext, fleet: TestFleet, kept: KeptCredentials): Promise<NatsConnection> {
  const nats = await connect({
    servers: fleet.backends.natsUrl,
    authenticator: jwtAuthenticator(kept.jwt, new TextEncoder().encode(kept.seed)),
    inboxPrefix: `_INBOX_${kept.host}`,
    reconnect: false,
  })
  t.teardown(() => nats.close())
  return nats
}

function publicKeyOf({ seed }: KeptCredentials): string {
  return nkeys.fromSeed(new TextEncoder().encode(seed)).getPublicKey()
}

/** What the server objects to after `act`, or undefined when it lets it pass. */
async function objection(nats: NatsConnection, act: () => void): Promise<string | undefined> {
  const statuses = nats.status()
  act()
  // The server answers in order: an objection arrives before the answer to this.
  await nats.flush()
  await nats.flush()
  const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 100))
  const found = (async () => {
    for await (const status of statuses) if (status.type === 'error') return status.error.message
    return undefined
  })()
  return Promise.race([found, late])
}

function isAlive({ pid }: TestProcess): boolean {
  return existsSync(`/proc/${pid}/exe`)
}

function newKeys() {
  return {
    nats_public_key: nkeys.createUser().getPublicKey(),
    seal_public_key: randomBytes(32).toString('base64'),
  }
}

async function newToken(fleet: TestFleet, name: string): Promise<string> {
  const made = await fleet.call('POST', '/api/v1/hosts/enrolments', { name })
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  return made.body.token
}

const enrol = (fleet: TestFleet, body: object) => fleet.call('POST', '/api/v1/hosts/enrol', body, { token: 'none' })

test.serial('an agent speaks and hears on its own subjects and on no other', async (t) => {
  const { fleet } = shared(t)
  const [victim, own] = ['a', 'b'].map((name) => credentialsOf(fleet, name))
  if (!victim || !own) throw new Error('two agents')
  const nats = await connectWith(t, fleet, own)

  const says = [subjects.event('b'), subjects.beat('b'), subjects.hello('b'), subjects.ask('b')]
  for (const subject of says) t.is(await objection(nats, () => nats.publish(subject)), undefined, subject)
  const hears = [subjects.cancel('b'), subjects.confirm('b'), subjects.hostReads('b'), '_INBOX_b.>']
  for (const subject of hears) t.is(await objection(nats, () => nats.subscribe(subject)), undefined, subject)

  const mustNotSay = [
    ...[subjects.event('a'), subjects.beat('a'), subjects.hello('a'), subjects.ask('a')],
    ...[subjects.work('a'), subjects.work('b'), subjects.cancel('a'), subjects.confirm('a'), subjects.rotate('a')],
    ...[subjects.read('a', 'ping'), '_INBOX_a.x', '_INBOX.x'],
    // Nor for a key that is not the one it is connected by.
    subjects.credential('a', publicKeyOf(victim)),
    subjects.credential('b', publicKeyOf(victim)),
    subjects.credential('b', nkeys.createUser().getPublicKey()),
    `$JS.API.CONSUMER.INFO.${WORK_STREAM}.${workConsumer('a')}`,
    `$JS.API.CONSUMER.MSG.NEXT.${WORK_STREAM}.${workConsumer('a')}`,
    `$JS.API.CONSUMER.MSG.NEXT.${EVENT_STREAM}.${INGEST_CONSUMER}`,
    `$JS.API.CONSUMER.DURABLE.CREATE.${WORK_STREAM}.${workConsumer('a')}`,
    `$JS.API.CONSUMER.DURABLE.CREATE.${WORK_STREAM}.${workConsumer('b')}`,
    `$JS.API.CONSUMER.CREATE.${WORK_STREAM}`,
    `$JS.API.CONSUMER.CREATE.${EVENT_STREAM}.x`,
    `$JS.API.CONSUMER.DELETE.${WORK_STREAM}.${workConsumer('a')}`,
    `$JS.API.CONSUMER.DELETE.${WORK_STREAM}.${workConsumer('b')}`,
    ...['CREATE', 'UPDATE', 'DELETE', 'PURGE', 'INFO', 'MSG.GET', 'MSG.DELETE'].map(
      (verb) => `$JS.API.STREAM.${verb}.${WORK_STREAM}`,
    ),
    '$JS.API.INFO',
    `$JS.ACK.${WORK_STREAM}.${workConsumer('a')}.1.1.1.1.0`,
    `$JS.ACK.${EVENT_STREAM}.${INGEST_CONSUMER}.1.1.1.1.0`,
    '$SYS.REQ.CLAIMS.UPDATE',
  ]
  for (const subject of mustNotSay)
    t.regex((await objection(nats, () => nats.publish(subject))) ?? 'let pass', DENIED, subject)
  const mustNotHear = [
    ...[subjects.work('a'), subjects.work('b'), subjects.allWork, subjects.allEvents, subjects.event('a')],
    ...[subjects.cancel('a'), subjects.confirm('a'), subjects.hostReads('a'), subjects.rotate('a')],
    ...[subjects.allBeats, subjects.allHellos, subjects.allAsks, subjects.allCredentials],
    ...['_INBOX_a.>', '_INBOX.>', '>', '*', '$JS.>', '$SYS.>', 'fleet.>'],
  ]
  for (const subject of mustNotHear)
    t.regex((await objection(nats, () => nats.subscribe(subject))) ?? 'let pass', DENIED, subject)
  await t.throwsAsync(jetstream(nats, { timeout: 500 }).consumers.get(WORK_STREAM, workConsumer('a')))
})

test.serial('an intruder cannot make another host change its key, nor fill what NATS must remember', async (t) => {
  const fleet = await startFleet(t, { agents: ['a', 'b'].map((name) => ({ name, ...SIM })) })
  const own = credentialsOf(fleet, 'b')
  const before = publicKeyOf(credentialsOf(fleet, 'a'))
  await fleet.agent('b').signal('SIGKILL')
  const nats = await connectWith(t, fleet, own)
  // Answers of NATS and of the control plane go where the asker wants them.
  nats.publish(subjects.event('b'), '{}', { reply: subjects.rotate('a') })
  nats.publish(subjects.ask('b'), JSON.stringify({ v: WIRE_VERSION, jobId: newId(), attempt: 1 }), {
    reply: subjects.rotate('a'),
  })

  const answers: Msg[] = []
  nats.subscribe('_INBOX_b.keys', { callback: (_error, message) => void answers.push(message) })
  const subject = subjects.credential('b', publicKeyOf(own))
  for (let asked = 0; asked < TOO_MANY_KEYS; asked += 1) {
    const question = JSON.stringify({ v: WIRE_VERSION, next: nkeys.createUser().getPublicKey() })
    nats.publish(subject, question, { reply: '_INBOX_b.keys' })
  }
  // Who asks for too many hears nothing; the log does.
  const refused = () => fleet.planes[0]?.log().match(/"host\.credential_failed"/g)?.length ?? 0
  await until('all are answered or refused', () => answers.length + refused() >= TOO_MANY_KEYS, 60_000)
  t.true(answers.length > 0)
  const [{ count }] = await fleet.sql('select count(*)::int from nats_revocation')
  t.true(count < 100, `${count} keys`)
  t.is(publicKeyOf(credentialsOf(fleet, 'a')), before)
  // A key that holds goes on to hold, and can be taken away.
  t.is((await fleet.call('POST', '/api/v1/hosts/b/revoke')).status, 200)
  await until('it is put out', async () => nats.isClosed())
})

test.serial("fake events for another's job, on its own subject, change nothing and are audited", async (t) => {
  const { fleet } = shared(t)
  const nats = await connectWith(t, fleet, credentialsOf(fleet, 'b'))
  await fleet.agent('a').signal('SIGSTOP')
  const creating = fleet.call('POST', '/api/v1/datasets', { name: 'one', host: 'a' })
  const job = await until('it is ordered', async () => {
    const [row] = await fleet.sql(`select id from job where dataset_name = 'one'`)
    return row
  })
  for (const event of [
    { type: 'start', seq: 1, at: Date.now() },
    {
      type: 'succeed',
      seq: 2,
      at: Date.now(),
      result: { rootInode: 1, mountpoint: '/forged', atomic: true, cow: true },
      phases: [],
    },
    { type: 'fail', seq: 3, at: Date.now(), error: { code: 'internal', message: 'forged' }, phases: [] },
  ]) {
    const report = { jobId: job.id, attempt: 1, delivery: 1, events: [event] }
    nats.publish(subjects.event('b'), JSON.stringify({ v: WIRE_VERSION, reports: [report] }))
  }
  await until('it is told', async () => {
    const rows = await fleet.sql(
      `select 1 from audit where subject = 'host:b' and job_id = $1 and result = 'refused'`,
      [job.id],
    )
    return rows.length > 0
  })
  t.is((await fleet.call('GET', `/api/v1/jobs/${job.id}`)).body.state, 'dispatched')
  // Nor may it be told whether a job of another is still wanted.
  const question = { v: WIRE_VERSION, jobId: job.id, attempt: 1 }
  const answer = await nats.request(subjects.ask('b'), JSON.stringify(question), { timeout: 2_000 })
  t.false(answer.json<{ start: boolean }>().start)
  await fleet.agent('a').signal('SIGCONT')
  const made = await creating
  t.is(made.status, 201)
  t.not(made.body.mountpoint, '/forged')
})

test.serial('a token is good once, for one name, and not for long', async (t) => {
  const { fleet } = shared(t)
  t.is((await enrol(fleet, { token: 'guess', ...newKeys() })).status, 401)
  const token = await newToken(fleet, 'new')
  t.like(await enrol(fleet, { token, name: 'other', ...newKeys() }), {
    status: 400,
    body: { error: { field: 'name' } },
  })
  const keys = newKeys()
  const first = await enrol(fleet, { token, name: 'new', ...keys })
  t.like(first, { status: 200, body: { host: 'new', nats_urls: [fleet.backends.natsUrl] } })
  t.is((await enrol(fleet, { token, ...keys })).status, 200, 'its answer may have been lost')
  t.like(await enrol(fleet, { token, ...newKeys() }), { status: 409, body: { error: { code: 'conflict' } } })
  t.is((await enrol(fleet, { token, ...keys, seal_public_key: newKeys().seal_public_key })).status, 409)

  const late = await newToken(fleet, 'late')
  await fleet.sql(`update host_enrolment set expires_at = now() - interval '1 second' where name = 'late'`)
  t.is((await enrol(fleet, { token: late, ...newKeys() })).status, 401)
  t.regex((await enrol(fleet, { token: late, ...newKeys() })).body.error.message, /has expired/)

  const taken = await newToken(fleet, 'thief')
  const stolen = { ...newKeys(), nats_public_key: publicKeyOf(credentialsOf(fleet, 'a')) }
  t.like(await enrol(fleet, { token: taken, ...stolen }), {
    status: 400,
    body: { error: { field: 'nats_public_key' } },
  })
  const unused = { token: await newToken(fleet, 'new'), ...newKeys() }
  await fleet.call('POST', '/api/v1/hosts/new/revoke')
  t.is((await enrol(fleet, unused)).status, 401, 'a token that nobody had used ends with the host')
  t.is((await enrol(fleet, { token, ...keys })).status, 401, 'what it gave was revoked')
  const again = { token: await newToken(fleet, 'new'), ...keys }
  t.is((await enrol(fleet, again)).status, 400, 'a key that was revoked stays so')
  t.like(await fleet.call('POST', '/api/v1/hosts/enrolments', { name: 'a' }), { status: 201, body: { replaces: true } })
  const [row] = await fleet.sql(
    `select count(*)::int as n from host_enrolment e where e.hash::text like '%' || $1 || '%'`,
    [token],
  )
  t.is(row.n, 0)
})

test.serial(
  'a revoked agent is dropped at once, stays out whatever NATS forgets, and comes back by a new token',
  async (t) => {
    const fleet = await startFleet(t, { agents: ['a', 'b'].map((name) => ({ name, ...SIM })) })
    const kept = credentialsOf(fleet, 'b')
    const nats = await connectWith(t, fleet, kept)
    const stopwatch = startStopwatch()
    t.like(await fleet.call('POST', '/api/v1/hosts/b/revoke'), { status: 200, body: { credential_expires_at: null } })
    await nats.closed()
    t.true(stopwatch.within(2_000), `${stopwatch}`)
    await t.throwsAsync(connectWith(t, fleet, kept), { message: TURNED_AWAY })
    // An order that it does not answer tells sooner than its beats.
    t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'never', host: 'b' })).status, 503)
    const isOffline = async () => (await fleet.call('GET', '/api/v1/hosts/b')).body.state === 'offline'
    await until('the host is offline', isOffline, 60_000)
    await until('its agent says why it ends', () => /NATS turns this host away/.test(fleet.agent('b').log()))

    await fleet.backends.nats.signal('SIGKILL')
    rmSync(join(fleet.backends.folder, 'nats', 'accounts'), { recursive: true })
    await fleet.backends.restart('nats')
    await until('NATS was told again', () =>
      connectWith(t, fleet, kept).then(
        () => false,
        (error) => TURNED_AWAY.test(String(error)),
      ),
    )

    await fleet.enrol('b')
    await fleet.ready({ agent: 'b' })
    t.not(publicKeyOf(credentialsOf(fleet, 'b')), publicKeyOf(kept))
    t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'after', host: 'b' })).status, 201)
    await t.throwsAsync(connectWith(t, fleet, kept), { message: TURNED_AWAY })
  },
)

test.serial('an agent that was killed before it had its answer asks again with the same keys', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', ...SIM }] })
  const before = credentialsOf(fleet, 'a')
  await fleet.agent('a').stop()
  const bodies: object[] = []
  const proxy = createServer(async (request, response) => {
    const body = await text(request)
    bodies.push(JSON.parse(body))
    const answer = await fetch(fleet.url() + request.url, { method: 'POST', body })
    if (bodies.length === 1) return agent.signal('SIGKILL')
    response.writeHead(answer.status).end(await answer.text())
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => proxy.close())
  // as: it listens on a port
  const { port } = proxy.address() as AddressInfo
  const { spec } = fleet.agent('a')
  const environment = { ...spec.environment, HOLDFAST_ENROL_URL: `http://127.0.0.1:${port}` }
  const agent = new TestProcess({ ...spec, environment })
  t.teardown(() => agent.stop())
  await fleet.enrol('a')
  agent.start()
  await until('its answer is lost', async () => {
    const [{ used }] = await fleet.sql('select count(used_at)::int as used from host_enrolment')
    return used === 2
  })
  await until('it was killed', () => !isAlive(agent))
  agent.start()
  await until('it is enrolled', () => credentialsOf(fleet, 'a').token_hash !== before.token_hash)
  t.deepEqual(bodies[1], bodies[0])
  await t.throwsAsync(connectWith(t, fleet, before), { message: TURNED_AWAY }, 'the old key is over')
  await until('it is online', async () => (await fleet.call('GET', '/api/v1/hosts/a')).body.state === 'online')
  t.false(existsSync(join(fleet.state('a'), 'enrolment.json')))
  t.is(statSync(join(fleet.state('a'), 'credentials.json')).mode & 0o777, 0o600)
})

test.serial('orders that are placed while a key is rotated are done, and the old key is over', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', ...SIM }], planes: 2 })
  const before = credentialsOf(fleet, 'a')
  const thief = await connectWith(t, fleet, before)
  const orders = Array.from({ length: 40 }, async (_, n) => {
    await new Promise((resolve) => setTimeout(resolve, n * 25))
    return (await fleet.call('POST', '/api/v1/datasets', { name: `d${n}` }, { plane: n % 2 })).status
  })
  t.is((await fleet.call('POST', '/api/v1/hosts/a/rotate')).status, 202)
  t.deepEqual(new Set(await Promise.all(orders)), new Set([201]))
  await thief.closed()
  t.not(publicKeyOf(credentialsOf(fleet, 'a')), publicKeyOf(before))
  await t.throwsAsync(connectWith(t, fleet, before), { message: TURNED_AWAY })
  await connectWith(t, fleet, credentialsOf(fleet, 'a'))
  const keys = await fleet.sql('select public_key from host_credential')
  t.deepEqual(keys, [{ public_key: publicKeyOf(credentialsOf(fleet, 'a')) }])
  await fleet.quiet()
})

test.serial('an agent renews its credentials before they end, and serves on', async (t) => {
  const fleet = await startFleet(t, {
    agents: [{ name: 'a', ...SIM }],
    environment: { HOLDFAST_AGENT_CREDENTIAL_SECONDS: '6' },
  })
  const seen = new Set([credentialsOf(fleet, 'a').jwt])
  await until('it has renewed twice', () => seen.add(credentialsOf(fleet, 'a').jwt).size >= 3)
  t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'later' })).status, 201)
  t.is((await fleet.call('GET', '/api/v1/hosts/a')).body.state, 'online')
})

test.serial(
  'a host drains, is removed only when nothing is lost or by force, and does not come back by itself',
  async (t) => {
    const fleet = await startFleet(t, { agents: ['a', 'b'].map((name) => ({ name, ...SIM })) })
    t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'kept', host: 'b' })).status, 201)
    t.like(await fleet.call('POST', '/api/v1/hosts/b/drain'), { status: 200, body: { draining: true } })
    t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'no', host: 'b' })).status, 503)
    t.is((await fleet.call('POST', '/api/v1/clone', { source: 'kept', destination: 'no' })).status, 503)
    t.is((await fleet.call('POST', '/api/v1/snapshots', { source: 'kept', name: 'still' })).status, 201)
    t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'elsewhere' })).body.host, 'a')
    t.like(await fleet.call('DELETE', '/api/v1/hosts/b/drain'), { status: 200, body: { draining: false } })

    const refused = await fleet.call('DELETE', '/api/v1/hosts/b')
    t.is(refused.status, 409)
    t.true(refused.body.error.blockers.includes('dataset kept'))
    t.is((await fleet.call('GET', '/api/v1/hosts/b')).body.state, 'online', 'nothing was done')

    await fleet.agent('b').signal('SIGSTOP')
    const hanging = fleet.call('POST', '/api/v1/datasets', { name: 'unfinished', host: 'b' })
    await until(
      'it is ordered',
      async () => (await fleet.sql(`select 1 from job where dataset_name = 'unfinished'`)).length > 0,
    )
    const asSeenBefore = { headers: { 'If-Match': '"an older look"' } }
    t.is((await fleet.call('DELETE', '/api/v1/hosts/b?force=true', undefined, asSeenBefore)).status, 412)
    const removed = await fleet.call('DELETE', '/api/v1/hosts/b?force=true')
    t.like(removed, { status: 200, body: { name: 'b', failed_jobs: 1 } })
    t.true(removed.body.forgotten_datasets >= 2)
    t.true((await hanging).status >= 500)
    await fleet.agent('b').signal('SIGCONT')
    await until('its agent is turned away', () => /NATS turns this host away/.test(fleet.agent('b').log()))
    t.is((await fleet.call('GET', '/api/v1/hosts/b')).status, 404)
    t.is((await fleet.call('GET', '/api/v1/datasets/kept')).status, 404)
    await until('root is there', async () => (await fleet.call('GET', '/api/v1/datasets/root')).status === 200)
    await fleet.enrol('b')
    await fleet.ready({ agent: 'b' })
    t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'kept', host: 'b' })).status, 201)
    await fleet.quiet()
  },
)

test.serial('NATS over TLS: whoever shows no certificate or finds none it trusts does not connect', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', ...SIM }], natsTls: true })
  t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'one' })).status, 201)
  const kept = credentialsOf(fleet, 'a')
  t.is(kept.ca, readFileSync(fleet.backends.tls?.ca ?? '', 'utf8'))
  const authenticator = jwtAuthenticator(kept.jwt, new TextEncoder().encode(kept.seed))
  const { cert: certFile, key: keyFile, ca: caFile } = fleet.backends.tls ?? { cert: '', key: '', ca: '' }
  const url = fleet.backends.natsUrl
  const attempt = (tls: NatsTls) =>
    connect({ ...natsOptions({ url, tls }), authenticator, reconnect: false, waitOnFirstConnect: false })
  await t.throwsAsync(attempt({ certFile, keyFile }), undefined, 'the server is not known')
  await t.throwsAsync(attempt({ caFile }), undefined, 'the client is not known')
  const nats = await attempt({ caFile, certFile, keyFile })
  await nats.close()
})
