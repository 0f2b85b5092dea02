import type { RequestListener } from 'node:http'
import test, { type ExecutionContext } from 'ava'
import { entriesOf } from '../../agent/points/series.ts'
import { openTarget } from '../../agent/transfer/open-target.ts'
import type { Target } from '../../agent/transfer/transfer.ts'
import { TargetConfig } from '../../shared/target-config.ts'
import { startServer } from './fake-server.ts'
import { context, load, store, watch } from './target-setup.ts'

const PLACES = {
  webdav: { base: '/', username: 'a' },
  s3: { pathStyle: true, bucket: 'bucket', accessKeyId: 'a' },
}

/** A server that answers as nobody should, and what it was asked. */
async function hostile(t: ExecutionContext, answer: RequestListener, protocol: keyof typeof PLACES = 'webdav') {
  const asked: string[] = []
  const port = await startServer(t, (request, response) => {
    asked.push(`${request.method} ${request.url}`)
    answer(request, response)
  })
  const place = { protocol, name: 'evil', host: '127.0.0.1', port, encrypt: false, ...PLACES[protocol] }
  const retries = { attempts: 1 }
  const target = await openTarget(TargetConfig.parse(place), { password: 'hunter2' }, { ...context, retries })
  return { target, asked }
}

const xml =
  (body: string): RequestListener =>
  (_, response) => {
    response.writeHead(207, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?>${body}`)
  }
const entry = (href: string) =>
  `<D:response><D:href>${href}</D:href><D:propstat><D:prop><D:resourcetype/></D:prop></D:propstat></D:response>`
const root = entry('/').replace('<D:resourcetype/>', '<D:resourcetype><D:collection/></D:resourcetype>')
const multistatus = (inner: string) => `<D:multistatus xmlns:D="DAV:">${inner}</D:multistatus>`

test('a redirect is not followed, to a metadata address or anywhere', async (t) => {
  const { target, asked } = await hostile(t, (_, response) => {
    response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end()
  })
  await t.throwsAsync(target.ping(watch), { code: 'refused', message: /redirects/ })
  await t.throwsAsync(target.get('a', watch), { code: 'refused' })
  await t.throwsAsync(target.put('a', watch), { code: 'refused' })
  t.is(asked.length, 3)
})

test('XML that grows, that is deep, that is endless or that is none is not read', async (t) => {
  const bomb = `<!DOCTYPE a [<!ENTITY b "${'x'.repeat(1000)}"><!ENTITY c "&b;&b;&b;">]>${multistatus('&c;')}`
  const deep = `${'<a>'.repeat(100_000)}`
  const long = multistatus(`<D:response><D:href>${'y'.repeat(5_000_000)}</D:href></D:response>`)
  const tag = `<${'z'.repeat(5_000_000)}`
  for (const body of [bomb, deep, long, tag, 'no xml at all', multistatus('&undeclared;'), '<a></b>']) {
    const { target } = await hostile(t, xml(body))
    await t.throwsAsync(target.list('', watch), { code: 'internal', message: /evil.*XML/ }, body.slice(0, 40))
  }
})

test.serial('a listing without an end is given up, in little memory', async (t) => {
  const { target } = await hostile(t, (_, response) => {
    response.writeHead(207)
    response.write(`<D:multistatus xmlns:D="DAV:">${root}`)
    let number = 0
    const more = () => {
      for (let room = true; room && !response.destroyed; number += 1) room = response.write(entry(`/name-${number}`))
      response.once('drain', more)
    }
    more()
  })
  await t.throwsAsync(target.list('', watch), { code: 'too_large', message: /evil/ })
})

const PIECE_BYTES = 65_536
/** An answer without an end may have got so far before it is given up, with what waits in sockets. */
const MAX_SENT_BYTES = 2 ** 24

const UPLOADS = '<ListMultipartUploadsResult>'

/** What follows its beginning for as long as somebody reads it. */
function endless(sent: { bytes: number }, beginning: string, piece: (number: number) => string): RequestListener {
  return (request, response) => {
    if (beginning === UPLOADS && !request.url?.includes('uploads')) return void response.writeHead(200).end('<r/>')
    response.writeHead(request.method === 'PROPFIND' ? 207 : 200)
    response.write(beginning)
    let number = 0
    const more = () => {
      for (let room = true; room && !response.destroyed; number += 1) {
        const text = piece(number)
        sent.bytes += text.length
        room = response.write(text)
      }
      response.once('drain', more)
    }
    more()
  }
}

test.serial('XML in which one thing has no end is given up before it fills the memory', async (t) => {
  const beginnings: Readonly<Record<string, string>> = {
    attribute: `<D:multistatus xmlns:D="DAV:"><D:response a="`,
    text: `<D:multistatus xmlns:D="DAV:"><D:response><![CDATA[`,
    comment: '<!--',
  }
  for (const [what, beginning] of Object.entries(beginnings)) {
    const sent = { bytes: 0 }
    const piece = (what === 'attribute' ? '>' : '<').repeat(PIECE_BYTES)
    const { target } = await hostile(
      t,
      endless(sent, beginning, () => piece),
    )
    await t.throwsAsync(target.list('', watch), { code: 'internal', message: /evil.*XML/ }, what)
    t.true(sent.bytes < MAX_SENT_BYTES, `${what}: ${sent.bytes} bytes`)
  }
})

test.serial('a page of S3 that has no end is given up before it fills the memory', async (t) => {
  const object = '<Contents><Key>a</Key><Size>1</Size></Contents>'
  const upload = '<Upload><Key>a</Key><UploadId>u</UploadId></Upload>'
  for (const [beginning, element, ask] of [
    ['<ListBucketResult>', object, (target: Target) => target.list('', watch)],
    [UPLOADS, upload, (target: Target) => target.sweep('', { ...watch, olderThanMs: 0 })],
  ] as const) {
    const sent = { bytes: 0 }
    const { target } = await hostile(
      t,
      endless(sent, beginning, () => element.repeat(1_000)),
      's3',
    )
    await t.throwsAsync(ask(target), { code: 'too_large', message: /evil/ })
    t.true(sent.bytes < MAX_SENT_BYTES, `${sent.bytes} bytes`)
  }
})

test.serial('elements that belong to nothing are not read for ever', async (t) => {
  const elements = (number: number) => Array.from({ length: 1_000 }, (_, index) => `<m${number}-${index}/>`).join('')
  const { target } = await hostile(t, endless({ bytes: 0 }, '<r><Contents>', elements), 's3')
  await t.throwsAsync(target.list('', watch), { code: 'internal', message: /evil.*XML/ })
})

test('names that lead elsewhere are not listed', async (t) => {
  const hrefs = [
    '/good',
    '/..',
    '/%2e%2e',
    '/a%2fb',
    '/deep/er',
    'http://169.254.169.254/x',
    '/nul%00',
    '/%zz',
    '/.',
    '//',
  ]
  const { target } = await hostile(t, xml(multistatus(root + hrefs.map(entry).join(''))))
  const names = (await target.list('', watch)).entries.map(({ name }) => name)
  t.deepEqual(names.toSorted(), ['good', 'x'], 'only names that lie in the directory itself')
})

test('another range, length or encoding than was asked for is an error, never other bytes', async (t) => {
  const answers: Readonly<Record<string, readonly [number, Record<string, string>, string]>> = {
    refused: [200, {}, 'whole file'],
    corrupt: [206, { 'content-range': 'bytes 1-4/10' }, 'abcd'],
    internal: [299, {}, ''],
  }
  for (const [code, [status, headers, body]] of Object.entries(answers)) {
    const { target } = await hostile(t, (request, response) => {
      if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': '10' }).end()
      response.writeHead(status, headers).end(body)
    })
    await using source = await target.get('a', watch)
    await t.throwsAsync(source.read(0, 4, watch.signal), { code }, code)
  }
  const encoded = await hostile(t, (request, response) => {
    if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': '4' }).end()
    response.writeHead(206, { 'content-range': 'bytes 0-3/4', 'content-encoding': 'gzip' }).end('abcd')
  })
  await t.throwsAsync(load(encoded.target, 'a'), { code: 'corrupt' })
})

test('an answer that ends before its length, or goes on after it, is an error', async (t) => {
  const { target } = await hostile(t, (request, response) => {
    if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': '1000' }).end()
    response.writeHead(206, { 'content-range': 'bytes 0-999/1000', 'content-length': '1000' })
    response.write('short', () => response.destroy())
  })
  await t.throwsAsync(load(target, 'a'), { code: 'unavailable' })
  const long = await hostile(t, (request, response) => {
    if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': '10' }).end()
    response.writeHead(206, { 'content-range': 'bytes 0-9/10' }).end('x'.repeat(1_000_000))
  })
  await t.throwsAsync(load(long.target, 'a'), { code: 'corrupt' })
})

test('an upload that a server answers without reading it is a failure', async (t) => {
  const { target } = await hostile(t, (request, response) => {
    if (request.method === 'PROPFIND') return void response.writeHead(404).end()
    response.writeHead(201).end()
  })
  await t.throwsAsync(
    async () => {
      const sink = await target.put('a', watch)
      for (let written = 0; written < 20; written += 1) await sink.write(Buffer.alloc(1_000_000))
      await sink.finish()
    },
    { instanceOf: Error, message: /evil/ },
  )
})

test('a name on S3 that cannot be looked at is not taken for a free one', async (t) => {
  let heads = 0
  const { target, asked } = await hostile(
    t,
    (request, response) => {
      if (request.method === 'GET') return void response.writeHead(200).end('<ListBucketResult/>')
      if (request.method !== 'HEAD') return void response.writeHead(200).end()
      heads += 1
      response.writeHead(heads === 1 ? 404 : 503).end()
    },
    's3',
  )
  await t.throwsAsync(store(target, 'a', Buffer.from('new')), { code: 'unavailable', message: /evil/ })
  t.false(asked.some((line) => line.startsWith('PUT')))
})

test('a directory whose pages never end is given up', async (t) => {
  const { target, asked } = await hostile(
    t,
    (_, response) => {
      const page = '<Contents><Key>series/a</Key></Contents><NextContinuationToken>more</NextContinuationToken>'
      response.writeHead(200).end(`<ListBucketResult>${page}</ListBucketResult>`)
    },
    's3',
  )
  const read = async () => {
    for await (const _ of entriesOf(target, 'series', watch.signal)) if (asked.length > 3_000) return
  }
  await t.throwsAsync(read(), { code: 'too_large', message: /evil/ })
})

test('no secret is in what is thrown', async (t) => {
  const { target } = await hostile(
    t,
    (_, response) => void response.writeHead(500, { 'x-echo': 'hunter2' }).end('hunter2'),
  )
  const error = await t.throwsAsync(target.ping(watch), { code: 'unavailable' })
  t.false(JSON.stringify({ ...error, message: error?.message, cause: String(error?.cause) }).includes('hunter2'))
})

test('free space is what the server tells of its quota, and an upload without room is not begun', async (t) => {
  const quota = '<D:quota-available-bytes>1000</D:quota-available-bytes><D:quota-used-bytes>24</D:quota-used-bytes>'
  const { target, asked } = await hostile(t, (request, response) => {
    if (request.url === '/a') return void response.writeHead(404).end()
    xml(multistatus(entry('/').replace('<D:resourcetype/>', quota)))(request, response)
  })
  t.deepEqual(await target.free(watch), { freeBytes: 1000, totalBytes: 1024 })
  await t.throwsAsync(target.put('a', { ...watch, sizeBytes: 1001 }), { code: 'no_space', message: /evil/ })
  t.false(asked.some((line) => line.startsWith('PUT')))
})
