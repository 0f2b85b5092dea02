import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { z } from 'zod'
import { createEngineClient } from './engine-client.ts'

const never = new AbortController().signal
const Anything = z.unknown()

/** A listener that is no good engine. @param told its answer to `GET /version` */
async function open(t: ExecutionContext, answer: RequestListener, told: object = { ApiVersion: '1.41' }) {
  const folder = mkdtempSync('/var/tmp/holdfast-engine-')
  const socketPath = join(folder, 'sock')
  const server = createServer((request, response) => {
    if (request.url === '/version') response.end(JSON.stringify(told))
    else answer(request, response)
  })
  await new Promise<void>((listening) => server.listen(socketPath, listening))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
    rmSync(folder, { recursive: true })
  })
  return createEngineClient(socketPath)
}

const get = { method: 'GET', path: '/x', signal: never } as const

test('the version asked for is the newest that both know', async (t) => {
  const versions = [
    ['1.41', '1.24', '/v1.41/x'],
    ['1.52', '1.44', '/v1.44/x'],
  ] as const
  for (const [ApiVersion, MinAPIVersion, path] of versions) {
    const engine = await open(t, (request, response) => response.end(JSON.stringify(request.url)), {
      ApiVersion,
      MinAPIVersion,
    })
    t.is(await engine.json(get, Anything), path)
  }
  for (const told of [{ ApiVersion: '1.24' }, { ApiVersion: '1.60', MinAPIVersion: '1.50' }, { ApiVersion: 'x' }, {}]) {
    const engine = await open(t, (_, response) => response.end('{}'), told)
    await t.throwsAsync(engine.json(get, Anything), { code: 'unavailable' })
  }
})

test('statuses are errors of the fleet, without the engine’s words in their message', async (t) => {
  const codes = [
    [404, 'not_found'],
    [409, 'conflict'],
    [500, 'internal'],
  ] as const
  for (const [status, code] of codes) {
    const engine = await open(t, (_, response) => response.writeHead(status).end('{"message":"/var/lib/secret"}'))
    const error = await t.throwsAsync(engine.act(get), { code })
    t.like(error, { detail: '/var/lib/secret' })
    t.notRegex(error?.message ?? '', /secret/)
  }
  const engine = await open(t, (_, response) => response.writeHead(304).end())
  await t.notThrowsAsync(engine.act(get))
})

test('an answer without end, without sense or without coming is given up', async (t) => {
  const endless = await open(t, (_, response) => {
    const write = () =>
      void (response.write(Buffer.alloc(2 ** 20, 0x20)) ? setImmediate(write) : response.once('drain', write))
    response.on('error', () => undefined)
    write()
  })
  await t.throwsAsync(endless.json(get, Anything), { code: 'too_large' })
  const senseless = await open(t, (_, response) => response.end('<html>'))
  await t.throwsAsync(senseless.json(get, Anything), { code: 'unavailable' })
  const silent = await open(t, () => undefined)
  await t.throwsAsync(silent.json({ ...get, timeoutMs: 50 }, Anything), { code: 'timeout' })
  const cut = await open(t, (_, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('{')
    setImmediate(() => response.destroy())
  })
  await t.throwsAsync(cut.json(get, Anything), { code: 'unavailable' })
  const cancel = new AbortController()
  const waiting = silent.json({ ...get, signal: cancel.signal }, Anything)
  cancel.abort()
  await t.throwsAsync(waiting, { code: 'cancelled' })
})

test('a stream that stalls or is cut is no short stream', async (t) => {
  const stalling = await open(t, (_, response) => void response.write('begin'))
  await t.throwsAsync(Array.fromAsync(stalling.stream({ ...get, timeoutMs: 50 })), { code: 'timeout' })
  const cut = await open(t, (_, response) => {
    response.write('begin')
    setTimeout(() => response.destroy(), 10)
  })
  await t.throwsAsync(Array.fromAsync(cut.stream(get)), { code: 'unavailable' })
})

test('a body that fails is what is thrown, and one that is refused early is not sent to its end', async (t) => {
  const engine = await open(t, (request, response) => {
    if (request.url?.endsWith('/refused')) response.writeHead(409).end('{}')
    else request.on('error', () => undefined).resume()
  })
  async function* failing() {
    yield Buffer.from('begin')
    throw new Error('unreadable')
  }
  await t.throwsAsync(engine.act({ method: 'POST', path: '/x', body: failing(), signal: never }), {
    message: 'unreadable',
  })
  let sent = 0
  async function* endless() {
    for (;;) {
      sent++
      yield Buffer.alloc(65_536)
    }
  }
  await t.throwsAsync(engine.act({ method: 'POST', path: '/refused', body: endless(), signal: never }), {
    code: 'conflict',
  })
  t.true(sent < 1_000)
})
