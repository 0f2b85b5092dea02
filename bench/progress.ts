import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startAgent, startControlPlane } from './harness/fleet.ts'
import { type BenchProcess, freePort } from './harness/processes.ts'
import { atMost, type Finding } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { percentile } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * The progress of a backup to 1,000 clients of the Container Station's long poll, beside a bare server that holds as many
 * requests and answers them all. Ours begins when Postgres is told of the progress, as an agent's report would be folded; each
 * change is told when all of them wait, so that none is bundled with another.
 */

const POLLERS = 1_000
const CHANGES_PER_ROUND = 10
/** All polls have arrived by then, and the pause in which changes are told together is over. */
const WAIT_MS = 1_000
const TARGET_P99_MS = 100
const GROUP_ID = '00000000-0000-7000-8000-000000000001'

/** As `writeChanges` of control-plane/db/stores/change-write.ts does it for a group of one event. */
const INSERT = `with numbered as (
    update event_head set seq = seq + 1 returning seq
  ), told as (
    insert into event (seq, type, job_id, group_id, body, at)
    select seq, 'job.progress', $1, $2, $3, now() from numbered
  )
  select seq, pg_notify('holdfast_event', seq::text) from numbered`

interface Side {
  readonly server: BenchProcess
  readonly pollers: BenchProcess
  /** Changes the progress. */
  change(percent: number): Promise<void>
}

await runBench(async (workbench) => {
  const [ours, theirs] = [await openOurs(workbench), await openPeer(workbench)]
  const found: Record<'ours' | 'theirs', Woken[]> = { ours: [], theirs: [] }
  for (let round = 1; round <= workbench.rounds; round += 1) {
    const took = [await wake(ours, round), await wake(theirs, round)] as const
    found.ours.push(...took[0])
    found.theirs.push(...took[1])
    workbench.say(`progress ${round}: ${words(took[0])}, bare ${words(took[1])}`)
  }
  const p99 = latency(found.ours, 0.99)
  const finding: Finding = {
    bench: 'progress: 1,000 pollers',
    figure: words(found.ours),
    peer: `bare node:http ${words(found.theirs)}`,
    ratio: p99 / latency(found.theirs, 0.99),
    target: atMost(p99, TARGET_P99_MS, ' ms'),
  }
  return [finding]
})

interface Woken {
  /** How long after the change each poller had its answer. */
  readonly latenciesMs: readonly number[]
  /** What the server took of a processor from the change to the last answer. */
  readonly cpuMs: number
}

function latency(woken: readonly Woken[], share: number): number {
  return percentile(
    woken.flatMap(({ latenciesMs }) => latenciesMs),
    share,
  )
}

function words(woken: readonly Woken[]): string {
  const [p50, p99] = [0.5, 0.99].map((share) => latency(woken, share).toFixed(0))
  const cpuMs = woken.reduce((sum, one) => sum + one.cpuMs, 0) / woken.length
  return `p50 ${p50}, p99 ${p99} ms, CPU ${cpuMs.toFixed(0)} ms`
}

async function wake({ server, pollers, change }: Side, round: number): Promise<readonly Woken[]> {
  const all: Woken[] = []
  for (let n = 0; n < CHANGES_PER_ROUND; n += 1) {
    await pollers.ask({ poll: true })
    const answered = pollers.hear()
    await sleep(WAIT_MS)
    const cpuS = server.cpuSeconds()
    const changedMs = Number(process.hrtime.bigint()) / 1e6
    await change((round * CHANGES_PER_ROUND + n) % 100)
    // as: pollers.ts answers so
    const latenciesMs = ((await answered) as number[]).map((atMs) => atMs - changedMs)
    all.push({ latenciesMs, cpuMs: (server.cpuSeconds() - cpuS) * 1000 })
  }
  return all
}

async function openOurs(workbench: Workbench): Promise<Side> {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const controlPlane = await startControlPlane(workbench, { databaseUrl, natsUrl })
  startAgent(workbench, { natsUrl, driver: 'sim', path: '/sim' })
  await controlPlane.rooted()
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  workbench.defer(() => client.end())
  const jobId = await runBackup(controlPlane, client)
  const { port, token } = controlPlane
  return {
    server: controlPlane.process,
    pollers: await openPollers(workbench, { name: 'our-pollers', port, token }),
    async change(percent) {
      const progress = { phase: 'write', percent }
      const body = { job_id: jobId, kind: 'point.create', state: 'running', host: 'agent', attempt: 1, progress }
      await client.query({ name: 'tell', text: INSERT, values: [jobId, GROUP_ID, JSON.stringify(body)] })
    },
  }
}

type Ours = Awaited<ReturnType<typeof startControlPlane>>

/** @returns a job that is part of a backup. */
async function runBackup({ process, port, token, post }: Ours, client: pg.Client): Promise<string> {
  const made = await post('/api/v1/backup/', {
    job_name: 'bench',
    container_id: 'root',
    type: 'dataset',
    dest: { target: 'local', path: '/bench' },
    at: { repeat: 'daily', start: 0 },
  })
  // as: the documented member
  const { id } = (await made.json()) as { readonly id: number }
  const headers = { Authorization: `Bearer ${token}` }
  await fetch(`http://127.0.0.1:${port}/api/v1/backup/${id}/run`, { method: 'PUT', headers })
  let jobId: string | undefined
  await process.until(async () => {
    const { rows } = await client.query(
      `select r.job_id from schedule_run r join job j on j.id = r.job_id where r.state = 'ended'`,
    )
    jobId = rows[0]?.job_id
    return jobId !== undefined
  })
  return jobId ?? ''
}

async function openPeer(workbench: Workbench): Promise<Side> {
  const port = await freePort()
  const args = [JSON.stringify({ port })]
  const server = workbench.startNode({ name: 'bare-poll', entry: 'bench/programs/bare-poll.ts', args })
  await server.hear()
  return {
    server,
    pollers: await openPollers(workbench, { name: 'peer-pollers', port }),
    change: async (progress) => server.tell({ answer: JSON.stringify([{ id: 1, progress, type: 'backup' }]) }),
  }
}

async function openPollers(
  workbench: Workbench,
  { name, ...where }: { readonly name: string; readonly port: number; readonly token?: string },
): Promise<BenchProcess> {
  const args = [JSON.stringify({ ...where, path: '/api/v1/backup/progress', clients: POLLERS })]
  const pollers = workbench.startNode({ name, entry: 'bench/programs/pollers.ts', args })
  await pollers.hear()
  return pollers
}
