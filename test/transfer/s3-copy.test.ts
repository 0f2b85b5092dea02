import test, { type ExecutionContext } from 'ava'
import { openTarget } from '../../agent/transfer/open-target.ts'
import { S3TargetConfig } from '../../shared/target-config.ts'
import { startServer } from './fake-server.ts'
import { context, watch } from './target-setup.ts'

const GIB = 2 ** 30
const SIZE = 6 * GIB + 5

/** Says that it has an object of six GiB, which nobody could store for a test, and what it was asked. */
async function open(t: ExecutionContext, failsAtPart = 0) {
  const asked: string[] = []
  const ranges: string[] = []
  let completed = ''
  const port = await startServer(t, async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://s3')
    const body = Buffer.concat(await Array.fromAsync(request)).toString()
    const { method = '' } = request
    const answer = (status: number, text = '') => void response.writeHead(status).end(text)
    if (method === 'HEAD' && pathname === '/bucket/from')
      return void response.writeHead(200, { 'content-length': SIZE }).end()
    if (method === 'HEAD') return answer(404)
    if (method === 'GET') return answer(200, '<ListBucketResult/>')
    asked.push(`${method} ${pathname}`)
    if (searchParams.has('uploads')) return answer(200, '<r><UploadId>one</UploadId></r>')
    const part = Number(searchParams.get('partNumber'))
    if (part > 0) {
      if (part === failsAtPart) return answer(403)
      ranges.push(`${request.headers['x-amz-copy-source']} ${request.headers['x-amz-copy-source-range']}`)
      return answer(200, `<CopyPartResult><ETag>"tag${part}"</ETag></CopyPartResult>`)
    }
    if (method === 'POST') completed = body
    answer(method === 'DELETE' ? 204 : 200, '<r><ETag>"whole"</ETag></r>')
  })
  const place = { protocol: 's3', name: 'cloud', host: '127.0.0.1', port, encrypt: false, pathStyle: true }
  const config = S3TargetConfig.parse({ ...place, bucket: 'bucket', accessKeyId: 'a' })
  const target = await openTarget(config, { password: 'p' }, context)
  return { target, asked, ranges, completed: () => completed }
}

test('what is larger than one copy may be is renamed by parts', async (t) => {
  const { target, asked, ranges, completed } = await open(t)
  await target.rename('from', 'to', watch)
  let next = 0
  for (const range of ranges) {
    const [, first, last] = /^\/bucket\/from bytes=(\d+)-(\d+)$/.exec(range) ?? []
    t.is(Number(first), next)
    t.true(Number(last) - next < 5 * GIB)
    next = Number(last) + 1
  }
  t.is(next, SIZE)
  const tags = [...completed().matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>"tag(\d+)"<\/ETag>/g)]
  t.deepEqual(
    tags.map(([, number, tag]) => [number, tag]),
    ranges.map((_, index) => [String(index + 1), String(index + 1)]),
  )
  t.deepEqual(asked.slice(-2), ['POST /bucket/to', 'DELETE /bucket/from'])
})

test('a copy by parts that fails leaves no parts, and what was to be renamed', async (t) => {
  const { target, asked } = await open(t, 3)
  await t.throwsAsync(target.rename('from', 'to', watch), { code: 'refused', message: /cloud/ })
  t.is(asked.at(-1), 'DELETE /bucket/to')
  t.false(asked.includes('DELETE /bucket/from'))
})
