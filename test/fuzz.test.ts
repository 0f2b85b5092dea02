import { randomUUID } from 'node:crypto'
import { Agent, request as httpRequest } from 'node:http'
import test from 'ava'
import fc from 'fast-check'
import { createAnswerChecker, type DescribedOperation, servedDocument } from './harness/document.ts'
import { startFleet, type TestFleet } from './harness/fleet.ts'
import { hostileBody, hostileText } from './harness/hostile.ts'
import { until } from './harness/until.ts'

/** Requests to each operation; HOLDFAST_FUZZ asks for more. */
const RUNS = Number(process.env.HOLDFAST_FUZZ ?? 100)
const TIME_LIMIT_MS = process.env.HOLDFAST_FUZZ === undefined ? 12_000 : 3_600_000
const ANSWER_WITHIN_MS = 10_000
const AT_A_TIME = 4

/** The failures that the ZeroFS document words as 500. */
const ZEROFS_FAILURE =
  /^(CREATE_DATASET|DELETE_DATASET|CREATE_SNAPSHOT|DELETE_SNAPSHOT|INSTANT_RESTORE|WRITE_DESTINATION|CLONE)_FAILED$/

interface Operation {
  readonly method: string
  readonly path: string
  readonly described: DescribedOperation
}

interface Hostile {
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
}

/** Percent-encoded, lone surrogates too, and sometimes badly. */
function encoded(text: string): string {
  const bytes = [...text].flatMap((character) => {
    const code = character.codePointAt(0) ?? 0
    const isLone = code >= 0xd800 && code <= 0xdfff
    return isLone ? [0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)] : [...Buffer.from(character)]
  })
  return bytes
    .map((byte) =>
      /[\w.~-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, '0')}`,
    )
    .join('')
}

/** What lives in this fleet, beside what cannot. @param known ids that were made for it. */
function segmentOf(known: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    fc.constantFrom('root', 'fuzz', 'nothing', 'restore', ...known),
    hostileText.map((text) => encoded(text.slice(0, 2_000))),
    fc.constantFrom('%zz', '%', '%c0%af', '%2e%2e%2f'),
  )
}

function queryOf(names: readonly string[]): fc.Arbitrary<string> {
  const name = fc.oneof(fc.constantFrom(...(names.length > 0 ? names : ['limit'])), hostileText)
  // Waiting for news is what a long poll is for: it is told not to.
  const asked = names.includes('timeout') ? ['timeout=0'] : []
  return fc
    .array(fc.tuple(name, hostileText), { maxLength: 3 })
    .map((pairs) =>
      pairs
        .filter(([key]) => key !== 'timeout')
        .map(([key, value]) => `${encoded(key.slice(0, 100))}=${encoded(value.slice(0, 500))}`),
    )
    .map((pairs) => [...asked, ...pairs])
    .map((pairs) => (pairs.length > 0 ? `?${pairs.join('&')}` : ''))
}

/** Node refuses to send what HTTP cannot carry. */
const headerText = hostileText.map((text) => text.replaceAll(/[^\x20-\x7e]/g, '').slice(0, 500))

function hostileHeaders(): fc.Arbitrary<Readonly<Record<string, string>>> {
  const odd = fc.record(
    {
      'if-match': headerText,
      'if-none-match': headerText,
      'idempotency-key': headerText,
      'x-request-id': headerText,
      accept: headerText,
    },
    { requiredKeys: [] },
  )
  const keyed = fc.constant({}).map(() => ({ 'idempotency-key': randomUUID() }))
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: odd },
    { weight: 1, arbitrary: keyed },
  )
}

function hostileRequest({ path, described }: Operation, segment: fc.Arbitrary<string>): fc.Arbitrary<Hostile> {
  const parts = path.split(/(\{[^}]+\})/).map((part) => (part.startsWith('{') ? segment : fc.constant(part)))
  const names = (described.parameters ?? []).flatMap((parameter) =>
    parameter.in === 'query' ? [parameter.name ?? ''] : [],
  )
  const examples = Object.values(described.requestBody?.content['application/json']?.examples ?? {}).map(
    ({ value }) => value,
  )
  const body = described.requestBody ? hostileBody(examples) : fc.option(hostileBody([]), { nil: undefined, freq: 4 })
  return fc
    .record({ parts: fc.tuple(...parts), query: queryOf(names), headers: hostileHeaders(), body })
    .map(({ parts: chosen, query, headers, body: text }) => ({ target: chosen.join('') + query, headers, body: text }))
}

/** @throws when there is no answer in time. */
function send(fleet: TestFleet, agent: Agent, method: string, { target, headers, body }: Hostile) {
  return new Promise<{ status: number; headers: Record<string, string>; text: string }>((resolve, reject) => {
    const { port } = new URL(fleet.url())
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port,
        method,
        path: target,
        agent,
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
        headers: {
          authorization: `Bearer ${fleet.token}`,
          'content-length': Buffer.byteLength(body ?? ''),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [name, String(value)])),
            text: Buffer.concat(chunks).toString(),
          }),
        )
        response.on('error', reject)
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

function parsed(text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** A target of nobody's, whose folders were asked for; a station that was given no place for its backups. */
const UNREACHABLE =
  /^(Service Unavailable: )|^target '|^the target or its index took too long|^the station has no directory for its backups/

/** Failures that a healthy fleet owes to no request, however odd. */
function isBreakage(status: number, body: unknown): boolean {
  if (status < 500) return false
  if (status === 503 || status === 504) return !UNREACHABLE.test(messageOf(body))
  const code = typeof body === 'object' && body !== null && 'error' in body ? String(body.error) : ''
  return !(status === 500 && ZEROFS_FAILURE.test(code))
}

function messageOf(body: unknown): string {
  const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : undefined
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : ''
}

/** A head that is longer is answered by Node itself, before anybody of ours sees it. */
const HEAD_BYTES = 16 * 1024

function headBytes({ target, headers }: Hostile): number {
  return target.length + Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length, 0)
}

/** A target, a point and a schedule. @returns their ids, as paths have them. */
async function makeKnown(fleet: TestFleet): Promise<readonly string[]> {
  const target = { protocol: 'webdav', name: 'fuzz', host: '127.0.0.1', port: 9, username: 'a', password: 'b' }
  const { body: made } = await fleet.call('POST', '/api/v1/targets', target)
  const { body: point } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'fuzz' } })
  const { body: schedule } = await fleet.call('POST', '/api/v1/backup', {
    job_name: 'fuzz',
    container_id: 'fuzz',
    type: 'dataset',
    dest: { target: 'local', path: '/fuzz' },
    at: { repeat: 'daily', start: 0 },
  })
  return [made.id, String(made.number), point.id, String(schedule.id), 'local']
}

test.serial('whatever is asked, the answer is a documented one, in time, and never a bug', async (t) => {
  t.timeout(TIME_LIMIT_MS + 120_000)
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }] })
  t.is((await fleet.call('POST', '/api/v1/datasets', { name: 'fuzz' })).status, 201)
  const segment = segmentOf(await makeKnown(fleet))
  const { paths } = servedDocument()
  const check = createAnswerChecker()
  const agent = new Agent({ keepAlive: true, maxSockets: AT_A_TIME })
  t.teardown(() => agent.destroy())
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(
      ([method, described]): Operation => ({ method: method.toUpperCase(), path, described }),
    ),
  )
  const endsAt = Date.now() + TIME_LIMIT_MS
  let sent = 0

  async function attack(operation: Operation): Promise<void> {
    const property = fc.asyncProperty(hostileRequest(operation, segment), async (hostile) => {
      sent += 1
      const { status, headers, text } = await send(fleet, agent, operation.method, hostile)
      if (status === 431 && headBytes(hostile) > HEAD_BYTES / 2) return
      const body = parsed(text)
      const path = hostile.target.split('?')[0] ?? ''
      const wrong = check({ method: operation.method, path, status, headers, body })
      if (wrong.length > 0 || isBreakage(status, body)) {
        const asked = `${operation.method} ${JSON.stringify({ ...hostile, body: hostile.body?.slice(0, 300) })}`
        throw new Error(`${asked}\n${status} ${text.slice(0, 300)}\n${wrong.join('\n')}`)
      }
    })
    const left = Math.max(1_000, endsAt - Date.now())
    await fc.assert(property, {
      numRuns: RUNS,
      interruptAfterTimeLimit: left,
      endOnFailure: true,
      includeErrorInReport: false,
    })
  }

  const failures: string[] = []
  const waiting = operations.values()
  const attackers = Array.from({ length: AT_A_TIME }, async () => {
    for (const operation of waiting) {
      await attack(operation).catch((error: unknown) => {
        failures.push(String(error instanceof Error && error.cause ? error.cause : error).slice(0, 3_000))
      })
    }
  })
  await Promise.all(attackers)
  t.log(`${sent} requests to ${operations.length} operations`)
  t.deepEqual(failures, [])
  t.true(sent >= operations.length)
  t.is((await fetch(`${fleet.url()}/readyz`)).status, 200)
  t.deepEqual(
    fleet.planes[0]
      ?.log()
      .split('\n')
      .filter((line) => line.includes('"request.bug"')),
    [],
  )
  await until('every job has ended', async () => {
    const [row] = await fleet.sql('select count(*)::int as n from job where finished_at is null')
    return row.n === 0
  })
})
