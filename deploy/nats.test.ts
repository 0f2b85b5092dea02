import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import test, { type ExecutionContext } from 'ava'
import { connect, type NatsConnection, nkeyAuthenticator } from 'nats'
import { EVENT_STREAM, WORK_STREAM, workConsumer } from '../shared/wire/streams.ts'
import { subjects } from '../shared/wire/subjects.ts'
import { lacksTool, testUnless } from '../test/harness/system-packages.ts'
import { ensureNatsUser, type NatsUser, preparePrivateNats } from './nats.ts'
import { SupervisedProcess } from './supervised-process.ts'
import { findTool } from './tools.ts'

const DENIED = /permissions violation/i

interface Server {
  readonly url: string
  readonly controlPlane: NatsConnection
  readonly one: NatsConnection
  readonly two: NatsConnection
}

/** A real nats-server with our configuration, the control plane and two agents connected to it. */
async function startServer(t: ExecutionContext): Promise<Server> {
  const program = findTool('nats-server')
  if (!program) throw new Error('nats-server')
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nats-'))
  const keys = join(folder, 'keys')
  const controlPlane = ensureNatsUser(keys, 'control-plane')
  const agents = ['agent-1', 'agent-2'].map((host) => ({ host, ...ensureNatsUser(keys, host) }))
  const logPath = join(folder, 'nats.log')
  const nats = await preparePrivateNats({ program, folder: join(folder, 'nats'), logPath, controlPlane, agents })
  const server = new SupervisedProcess(nats.spec, { deathSignalTool: findTool('setpriv'), onSpawn() {}, onExit() {} })
  t.teardown(async () => {
    await server.stop()
    rmSync(folder, { recursive: true })
  })
  await nats.ready(AbortSignal.timeout(10_000))
  const [one, two] = agents
  if (!one || !two) throw new Error('two agents')
  return {
    url: nats.url,
    controlPlane: await connectAs(t, nats.url, controlPlane),
    one: await connectAs(t, nats.url, one, one.host),
    two: await connectAs(t, nats.url, two, two.host),
  }
}

async function connectAs(t: ExecutionContext, servers: string, user: NatsUser, host?: string): Promise<NatsConnection> {
  const connection = await connect({
    servers,
    authenticator: nkeyAuthenticator(readFileSync(user.seedFile)),
    ...(host ? { inboxPrefix: `_INBOX_${host}` } : {}),
  })
  t.teardown(() => connection.close())
  return connection
}

/** What the server objects to after `act`, or undefined when it lets it pass. */
async function objection(connection: NatsConnection, act: () => void): Promise<string | undefined> {
  const statuses = connection.status()
  act()
  // The server answers in order: an objection arrives before the answer to this.
  await connection.flush()
  await connection.flush()
  const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 150))
  const found = (async () => {
    for await (const status of statuses) if (status.type === 'error') return status.error.message
    return undefined
  })()
  return Promise.race([found, late])
}

const testWithServer = testUnless(lacksTool('nats-server'))

test('a seed is made once and only its owner reads it', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-keys-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const made = ensureNatsUser(join(folder, 'keys'), 'agent-1')
  t.deepEqual(ensureNatsUser(join(folder, 'keys'), 'agent-1'), made)
  t.is(statSync(made.seedFile).mode & 0o777, 0o600)
  t.regex(made.publicKey, /^U[A-Z2-7]{55}$/)
})

testWithServer('a client without a key is turned away', async (t) => {
  const server = await startServer(t)
  await t.throwsAsync(connect({ servers: server.url, reconnect: false }), { message: /Authorization/i })
})

testWithServer('an agent speaks on its own subjects and on no other', async (t) => {
  const server = await startServer(t)
  const { one } = server
  const own = [subjects.event('agent-1'), subjects.beat('agent-1'), subjects.hello('agent-1'), subjects.ask('agent-1')]
  const foreign = [
    subjects.event('agent-2'),
    subjects.beat('agent-2'),
    subjects.hello('agent-2'),
    subjects.work('agent-1'),
    subjects.cancel('agent-2'),
    `$JS.API.CONSUMER.MSG.NEXT.${WORK_STREAM}.${workConsumer('agent-2')}`,
    `$JS.API.STREAM.DELETE.${WORK_STREAM}`,
    `$JS.API.CONSUMER.DURABLE.CREATE.${WORK_STREAM}.${workConsumer('agent-1')}`,
    '_INBOX_agent-2.x',
  ]
  for (const subject of own) t.is(await objection(one, () => one.publish(subject)), undefined, subject)
  for (const subject of foreign) t.regex((await objection(one, () => one.publish(subject))) ?? '', DENIED, subject)
})

testWithServer('an agent hears its own subjects and no other', async (t) => {
  const server = await startServer(t)
  const { one } = server
  const own = [
    subjects.cancel('agent-1'),
    subjects.confirm('agent-1'),
    subjects.hostReads('agent-1'),
    '_INBOX_agent-1.>',
  ]
  const foreign = [subjects.cancel('agent-2'), subjects.allEvents, '_INBOX_agent-2.>', '_INBOX.>', '>']
  for (const subject of own) t.is(await objection(one, () => one.subscribe(subject)), undefined, subject)
  for (const subject of foreign) t.regex((await objection(one, () => one.subscribe(subject))) ?? '', DENIED, subject)
})

testWithServer('an agent answers what it is asked', async (t) => {
  const server = await startServer(t)
  const { controlPlane, one } = server
  one.subscribe(subjects.hostReads('agent-1'), { callback: (_error, message) => void message.respond('here') })
  await one.flush()
  t.is((await controlPlane.request(subjects.read('agent-1', 'ping'))).string(), 'here')
})

testWithServer('an agent pulls its own orders, acknowledges them, and stores its reports', async (t) => {
  const server = await startServer(t)
  const { controlPlane, one, two } = server
  const manager = await jetstreamManager(controlPlane)
  await manager.streams.add({ name: WORK_STREAM, subjects: [subjects.allWork], retention: 'workqueue' })
  await manager.streams.add({ name: EVENT_STREAM, subjects: [subjects.allEvents] })
  const durable_name = workConsumer('agent-1')
  const filter_subject = subjects.work('agent-1')
  await manager.consumers.add(WORK_STREAM, { durable_name, filter_subject, ack_policy: 'explicit' })
  await jetstream(controlPlane).publish(subjects.work('agent-1'), 'order')

  const consumer = await jetstream(one).consumers.get(WORK_STREAM, durable_name)
  const order = await consumer.next({ expires: 2_000 })
  t.is(order?.string(), 'order')
  t.true(await order?.ackAck())
  t.is((await jetstream(one).publish(subjects.event('agent-1'), 'report')).stream, EVENT_STREAM)
  await t.throwsAsync(jetstream(two, { timeout: 500 }).consumers.get(WORK_STREAM, durable_name))
})
