import test, { type ExecutionContext } from 'ava'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'

const CREDENTIALS = { authorization: 'Bearer viewer-token', accept: 'text/event-stream' }

/** Reads a stream until it holds `count` events; each as its lines. */
async function readEvents(
  t: ExecutionContext,
  url: string,
  given: { count: number; headers?: Record<string, string> },
) {
  const gone = new AbortController()
  t.teardown(() => gone.abort())
  const response = await fetch(url, { headers: { ...CREDENTIALS, ...given.headers }, signal: gone.signal })
  t.is(response.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    const events = text.split('\n\n').filter((block) => block.startsWith('id: '))
    if (events.length === given.count && text.endsWith('\n\n')) return { events, gone }
  }
  throw new Error(`the stream ended early: ${text}`)
}

test('each event has its number as id, and data in one line', async (t) => {
  const { url, fake } = await startListener(t)
  fake.publish({ type: 'a' })
  fake.publish({ type: 'b' })
  const { events } = await readEvents(t, `${url}/api/v1/events?since=0`, { count: 2 })
  t.regex(events[0] ?? '', /^id: 1\ndata: \{"seq":1,"type":"a",.*\}$/)
  t.regex(events[1] ?? '', /^id: 2\ndata: \{"seq":2,/)
})

test('Last-Event-ID wins over the since of the old URL', async (t) => {
  const { url, fake } = await startListener(t)
  for (const type of ['a', 'b', 'c']) fake.publish({ type })
  const headers = { 'last-event-id': '2' }
  const { events } = await readEvents(t, `${url}/api/v1/events?since=0`, { count: 1, headers })
  t.regex(events[0] ?? '', /^id: 3\n/)
})

test('live events follow, and a client that leaves is let go of', async (t) => {
  const { url, fake } = await startListener(t)
  const reading = readEvents(t, `${url}/api/v1/events`, { count: 1 })
  await until('a follower', () => fake.followers() > 0)
  fake.publish({ type: 'now' })
  const { events, gone } = await reading
  t.regex(events[0] ?? '', /"type":"now"/)
  gone.abort()
  await until('no follower', () => fake.followers() === 0)
})

test('a Last-Event-ID that is no number is 400', async (t) => {
  const { ask } = await startListener(t)
  const headers = { accept: 'text/event-stream', 'last-event-id': 'abc' }
  t.like(await ask('GET', '/api/v1/events', { headers }), { status: 400, json: { error: { field: 'Last-Event-ID' } } })
})

test('closing the server ends the stream', async (t) => {
  const { url, http, fake } = await startListener(t)
  const response = await fetch(`${url}/api/v1/events`, { headers: CREDENTIALS })
  await until('a follower', () => fake.followers() > 0)
  await http.close()
  t.regex(await response.text(), /^retry: \d+\n\n$/)
})

test('a client whose credential ends is told so, and let go of', async (t) => {
  const { url, fake, credentials } = await startListener(t)
  const response = await fetch(`${url}/api/v1/events`, { headers: CREDENTIALS })
  await until('a follower', () => fake.followers() > 0)
  credentials.revoke()
  t.true((await response.text()).endsWith('event: failed\ndata: {"code":"unauthorized"}\n\n'))
  t.is(fake.followers(), 0)
})
