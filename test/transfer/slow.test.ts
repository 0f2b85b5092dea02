import type { IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { openTarget } from '../../agent/transfer/open-target.ts'
import { TargetConfig } from '../../shared/target-config.ts'
import { startServer } from './fake-server.ts'
import { context, noise, watch, writeAll } from './target-setup.ts'

/** Less than these servers take for a body; more than the system lets pass before it takes more of one. */
const STALL_MS = 2_000
const PAUSE_MS = 40

/** Takes a body as a narrow way does: a little at a time, and always some more. */
async function taken(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of request) {
      chunks.push(chunk)
      await delay(PAUSE_MS)
    }
  } catch {
    // given up by who sent it
  }
  return Buffer.concat(chunks)
}

function open(place: Readonly<Record<string, unknown>>) {
  const config = TargetConfig.parse({ name: 'far', host: '127.0.0.1', encrypt: false, verify: 'server', ...place })
  return openTarget(config, { password: 'p' }, { ...context, stallMs: STALL_MS })
}

test('a part that S3 takes slowly is sent once, for as long as some of it is taken', async (t) => {
  const bodies: Buffer[] = []
  const port = await startServer(t, async (request, response) => {
    if (request.method === 'GET') return void response.writeHead(200).end('<ListBucketResult/>')
    const [stored] = bodies
    if (request.method === 'HEAD' && stored === undefined) return void response.writeHead(404).end()
    if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': stored?.length }).end()
    bodies.push(await taken(request))
    response.writeHead(200).end()
  })
  const target = await open({ protocol: 's3', port, pathStyle: true, bucket: 'bucket', accessKeyId: 'a' })
  const bytes = noise(8_000_000)
  await writeAll(await target.put('a', watch), bytes)
  t.is(bodies.length, 1)
  t.true(bodies[0]?.equals(bytes))
})

test('an upload that WebDAV takes slowly goes on for as long as some of it is taken', async (t) => {
  let stored: Buffer | undefined
  const port = await startServer(t, async (request, response) => {
    if (request.method === 'PUT') {
      stored = await taken(request)
      return void response.writeHead(201).end()
    }
    if (request.method === 'MOVE') return void response.writeHead(201).end()
    if (stored === undefined) return void response.writeHead(404).end()
    const length = `<getcontentlength>${stored.length}</getcontentlength>`
    const found = `<response><href>/a</href><propstat><prop>${length}</prop></propstat></response>`
    response.writeHead(207).end(`<multistatus xmlns="DAV:">${found}</multistatus>`)
  })
  const target = await open({ protocol: 'webdav', port, base: '/', username: 'a' })
  const bytes = noise(12_000_000)
  await writeAll(await target.put('a', watch), bytes)
  t.true(stored?.equals(bytes))
})
