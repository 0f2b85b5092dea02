import { connect } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { WebSocket } from 'ws'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'
import { OUTLET_MAX_BYTES } from './transport-outlet.ts'

const CREDENTIALS = { authorization: 'Bearer viewer-token' }

interface Client {
  readonly socket: WebSocket
  readonly frames: { readonly seq: number; readonly type: string }[]
  /** 0 when the upgrade was refused. */
  readonly closed: Promise<number>
  readonly opened: Promise<number>
}

function follow(t: ExecutionContext, url: string, query = '', headers = CREDENTIALS): Client {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/events${query}`, { headers })
  t.teardown(() => socket.terminate())
  const frames: Client['frames'] = []
  socket.on('message', (data) => frames.push(JSON.parse(String(data))))
  socket.on('error', () => {})
  const closed = new Promise<number>((resolve) => socket.on('close', resolve))
  const opened = new Promise<number>((resolve) => {
    socket.on('open', () => resolve(101))
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
  })
  return { socket, frames, closed, opened }
}

test('a client gets what is kept after since, then what happens, without a gap or a repeat', async (t) => {
  const { url, fake } = await startListener(t)
  for (const type of ['a', 'b', 'c']) fake.publish({ type })
  const client = follow(t, url, '?since=1')
  await until('frames', () => client.frames.length === 2)
  fake.publish({ type: 'd' })
  await until('frames', () => client.frames.length === 3)
  t.deepEqual(
    client.frames.map(({ seq }) => seq),
    [2, 3, 4],
  )
})

test('without since a client gets only what happens from now on', async (t) => {
  const { url, fake } = await startListener(t)
  fake.publish({ type: 'past' })
  const client = follow(t, url)
  await until('followers', () => fake.followers() === 1)
  fake.publish({ type: 'present' })
  await until('frames', () => client.frames.length === 1)
  t.is(client.frames[0]?.type, 'present')
})

test('frames of every length form are read by a standard client', async (t) => {
  const { url, fake } = await startListener(t)
  const client = follow(t, url)
  await until('followers', () => fake.followers() === 1)
  const types = ['x', 'y'.repeat(300), 'é'.repeat(40_000)]
  for (const type of types) fake.publish({ type })
  await until('frames', () => client.frames.length === 3)
  t.deepEqual(
    client.frames.map(({ type }) => type),
    types,
  )
})

test('events of another group are not seen', async (t) => {
  const { url, fake } = await startListener(t)
  fake.publish({ type: 'theirs', groupId: 'another' })
  fake.publish({ type: 'everybody' })
  const client = follow(t, url, '?since=0', { authorization: 'Bearer tenant-token' })
  const operator = follow(t, url, '?since=0')
  await until('frames', () => client.frames.length === 1 && operator.frames.length === 2)
  t.is(client.frames[0]?.type, 'everybody')
})

test('a client whose credential ends is let go of', async (t) => {
  const { url, fake, credentials } = await startListener(t)
  const client = follow(t, url)
  await until('followers', () => fake.followers() === 1)
  credentials.revoke()
  t.is(await client.closed, 4401)
  t.is(fake.followers(), 0)
  t.is(await follow(t, url).opened, 401)
})

test('a useless since is refused before the upgrade', async (t) => {
  const { url, fake } = await startListener(t)
  fake.publish({ type: 'a' })
  fake.publish({ type: 'b' })
  fake.prune(1)
  t.is(await follow(t, url, '?since=0').opened, 410)
  t.is(await follow(t, url, '?since=9').opened, 400)
  t.is(await follow(t, url, '?since=x').opened, 400)
})

test('a client that leaves is let go of', async (t) => {
  const { url, fake } = await startListener(t)
  const client = follow(t, `${url}`, '')
  await until('followers', () => fake.followers() === 1)
  client.socket.terminate()
  await until('followers', () => fake.followers() === 0)
  t.pass()
})

test('what a client says is ignored, too much of it ends the connection', async (t) => {
  const { url, fake } = await startListener(t)
  const client = follow(t, url)
  await client.opened
  client.socket.send('hello')
  fake.publish({ type: 'a' })
  await until('frames', () => client.frames.length === 1)
  client.socket.send('x'.repeat(5000))
  t.is(await client.closed, 1009)
})

test('a client that does not read is dropped when its bound is reached, and others are not', async (t) => {
  const { url, port, fake } = await startListener(t)
  const stuck = connect(port, '127.0.0.1')
  t.teardown(() => stuck.destroy())
  const head = ['GET /api/v1/events HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket']
  const key = ['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
  stuck.write([...head, ...key, `Authorization: ${CREDENTIALS.authorization}`, '', ''].join('\r\n'))
  stuck.pause()
  const reading = follow(t, url)
  await until('followers', () => fake.followers() === 2)
  const type = 'x'.repeat(OUTLET_MAX_BYTES / 8)
  let published = 0
  // The kernel's buffers take some megabytes before ours begin to fill.
  while (fake.followers() === 2 && published < 64) {
    fake.publish({ type })
    published += 1
    await until('frames', () => reading.frames.length === published)
  }
  t.is(fake.followers(), 1)
})

test('closing the server tells its clients', async (t) => {
  const { url, http, fake } = await startListener(t)
  const client = follow(t, url)
  await until('followers', () => fake.followers() === 1)
  await http.close()
  t.is(await client.closed, 1001)
})

test('an Upgrade to anything else is ignored', async (t) => {
  const { port } = await startListener(t)
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.write('GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n')
  const answer = await new Promise((resolve) => socket.once('data', resolve))
  t.regex(String(answer), /^HTTP\/1\.1 200 /)
})
