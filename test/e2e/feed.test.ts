import { once } from 'node:events'
import test, { type ExecutionContext } from 'ava'
import { WebSocket } from 'ws'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { until } from '../harness/until.ts'

interface Told {
  readonly seq: number
  readonly type: string
  readonly job_id?: string
}

const SNAPSHOTS = 60
/** Progress events may be superseded before a late reader sees them; everything else is told to everybody. */
const lasting = (events: readonly Told[]) =>
  events.filter((event) => event.type !== 'job.progress').map((event) => event.seq)

async function socket(fleet: TestFleet, plane: number, since: number) {
  const url = `${fleet.url(plane).replace('http', 'ws')}/api/v1/events?since=${since}`
  const ws = new WebSocket(url, { headers: { authorization: `Bearer ${fleet.token}` } })
  const events: Told[] = []
  ws.on('message', (data) => events.push(JSON.parse(String(data))))
  await once(ws, 'open')
  return { ws, events }
}

async function work(t: ExecutionContext, fleet: TestFleet, run: string): Promise<void> {
  const answers = await Promise.all(
    Array.from({ length: SNAPSHOTS }, (_, n) =>
      fleet.call(
        'POST',
        '/api/v1/snapshots',
        { source: 'root', name: `${run}-${n}` },
        { plane: n % fleet.planes.length },
      ),
    ),
  )
  t.deepEqual(
    answers.filter((answer) => answer.status !== 201),
    [],
  )
}

/** Follows by WebSocket, cutting the line after every few events and coming back to the other replica. */
async function followCut(fleet: TestFleet, through: () => number): Promise<Told[]> {
  const all: Told[] = []
  for (let turn = 0; (all.at(-1)?.seq ?? 0) < through(); turn += 1) {
    const { ws, events } = await socket(fleet, turn % 2, all.at(-1)?.seq ?? 0)
    await until('a few events', () => events.length > 6 || (events.at(-1)?.seq ?? 0) >= through())
    ws.terminate()
    all.push(...events.splice(0))
  }
  return all
}

test('two replicas tell the same story, and who comes back misses nothing and hears nothing twice', async (t) => {
  const fleet = await startFleet(t, { planes: 2, agents: [{ name: 'a', driver: 'sim' }] })
  const [first, second] = await Promise.all([socket(fleet, 0, 0), socket(fleet, 1, 0)])
  t.teardown(() => [first, second].forEach(({ ws }) => void ws.terminate()))
  await work(t, fleet, 'x')
  const [{ seq }] = await fleet.sql('select seq::int from event_head')
  const cut = followCut(fleet, () => seq)
  await until('both have heard all', () => [first, second].every(({ events }) => (events.at(-1)?.seq ?? 0) >= seq))

  const expected = (
    await fleet.sql(`select seq::int from event where type <> 'job.progress' and seq <= $1 order by seq`, [seq])
  ).map((row) => row.seq)
  t.deepEqual(lasting(first.events.filter((event) => event.seq <= seq)), expected)
  t.deepEqual(lasting(second.events.filter((event) => event.seq <= seq)), expected)
  t.deepEqual(lasting((await cut).filter((event) => event.seq <= seq)), expected)

  const polled: Told[] = []
  for (let cursor = 0; cursor < seq; ) {
    const { body } = await fleet.call('GET', `/api/v1/events?since=${cursor}&timeout=1`, undefined, {
      plane: polled.length % 2,
    })
    polled.push(...body.items)
    cursor = body.next_cursor
  }
  t.deepEqual(lasting(polled.filter((event) => event.seq <= seq)), expected)
})

test('every job is told from its queue to its end', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }] })
  await work(t, fleet, 'y')
  const jobs = await fleet.sql('select id from job')
  const events = await fleet.sql('select job_id, type from event where job_id is not null order by seq')
  for (const { id } of jobs) {
    const told = events
      .filter((event) => event.job_id === id && event.type !== 'job.progress')
      .map((event) => event.type)
    t.deepEqual(told, ['job.queued', 'job.running', 'job.succeeded'])
  }
})
