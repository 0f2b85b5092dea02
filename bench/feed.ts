import pg from 'pg'
import { startControlPlane } from './harness/fleet.ts'
import { type BenchProcess, freePort } from './harness/processes.ts'
import { atLeast, type Finding } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * The event feed to 5,000 WebSocket clients, beside a bare `ws` server that broadcasts the same bytes to as many. Events
 * reach ours as they do in a fleet of replicas: somebody commits them to Postgres and notifies.
 *
 * Twice: one event after the other, each sent when the last client has the one before, so that nothing can be bundled;
 * and a burst, each event committed by itself but none waited for, where ours may catch up by sending several at once.
 */

const CLIENTS = 5_000
const SINGLE_EVENTS = 20
const BURST_EVENTS = 100
const TARGET = 0.8
/** Ours counts from here, so that its messages have the peer's length. */
const FIRST_SEQ = 1_000_000
const JOB_ID = '01990000-0000-7000-8000-000000000000'
const GROUP_ID = '00000000-0000-7000-8000-000000000001'
const BODY = JSON.stringify({
  job_id: JOB_ID,
  kind: 'snapshot.create',
  state: 'running',
  host: 'agent-1',
  dataset: 'backup-2026-01-01',
  attempt: 1,
})

/** As `writeChanges` of control-plane/db/stores/change-store.ts does it for a group of one event. */
const INSERT = `with numbered as (
    update event_head set seq = seq + 1 returning seq
  ), told as (
    insert into event (seq, type, job_id, group_id, body, at)
    select seq, 'job.running', $1, $2, $3, $4 from numbered
  )
  select seq, pg_notify('holdfast_event', seq::text) from numbered`

interface Side {
  readonly server: BenchProcess
  readonly clients: BenchProcess
  /** Sends so many events. */
  send(events: number): Promise<void>
}

await runBench(async (workbench) => {
  const ours = await openOurs(workbench)
  const theirs = await openPeer(workbench)
  const findings: Finding[] = []
  for (const [bench, events, step] of [
    ['feed: one by one', SINGLE_EVENTS, 1],
    ['feed: burst', BURST_EVENTS, BURST_EVENTS],
  ] as const) {
    const rates = { ours: [] as number[], theirs: [] as number[] }
    for (let round = 1; round <= workbench.rounds; round += 1) {
      rates.ours.push(await deliver(ours, events, step))
      rates.theirs.push(await deliver(theirs, events, step))
      workbench.say(`${bench} ${round}: ${words(rates.ours.at(-1) ?? 0)}, ws ${words(rates.theirs.at(-1) ?? 0)}`)
    }
    const ratio = median(rates.ours) / median(rates.theirs)
    const peer = `bare ws ${words(median(rates.theirs))}`
    // Bundling is ours alone, so the promise is held against what cannot be bundled.
    const target = step === 1 ? { target: atLeast(ratio, TARGET) } : {}
    findings.push({ bench, figure: words(median(rates.ours)), peer, ratio, ...target })
  }
  return findings
})

function words(rate: number): string {
  return `${(rate / 1000).toFixed(0)}k deliveries/s`
}

/** @returns deliveries (events × clients) per second. */
async function deliver(side: Side, events: number, step: number): Promise<number> {
  const startedAt = performance.now()
  for (let sent = 0; sent < events; sent += step) {
    await side.clients.ask({ messagesEach: step })
    const received = side.clients.hear()
    await side.send(step)
    await received
  }
  return (events * CLIENTS * 1000) / (performance.now() - startedAt)
}

function messageText(seq: number): string {
  const at = new Date().toISOString()
  return `{"seq":${seq},"type":"job.running","at":"${at}",${BODY.slice(1)}`
}

async function openOurs(workbench: Workbench): Promise<Side> {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const controlPlane = await startControlPlane(workbench, { databaseUrl, natsUrl })
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  workbench.defer(() => client.end())
  await client.query('update event_head set seq = $1', [FIRST_SEQ])
  const values = () => [JOB_ID, GROUP_ID, BODY, new Date()]
  await client.query(INSERT, values())
  const { port, token } = controlPlane
  return {
    server: controlPlane.process,
    clients: await openClients(workbench, { name: 'our-clients', port, token, path: '/api/v1/events' }),
    async send(events) {
      for (let n = 0; n < events; n += 1) await client.query({ name: 'tell', text: INSERT, values: values() })
    },
  }
}

async function openPeer(workbench: Workbench): Promise<Side> {
  const port = await freePort()
  const args = [JSON.stringify({ port })]
  const server = workbench.startNode({ name: 'bare-broadcast', entry: 'bench/programs/bare-broadcast.ts', args })
  await server.hear()
  return {
    server,
    clients: await openClients(workbench, { name: 'peer-clients', port, path: '/' }),
    async send(events) {
      server.tell({ messages: Array.from({ length: events }, () => messageText(FIRST_SEQ)) })
    },
  }
}

async function openClients(
  workbench: Workbench,
  options: { readonly name: string; readonly port: number; readonly path: string; readonly token?: string },
): Promise<BenchProcess> {
  const { name, ...where } = options
  const args = [JSON.stringify({ ...where, clients: CLIENTS })]
  const clients = workbench.startNode({ name, entry: 'bench/programs/feed-clients.ts', args })
  await clients.hear()
  return clients
}
