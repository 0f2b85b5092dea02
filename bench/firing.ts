import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startControlPlane } from './harness/fleet.ts'
import type { BenchProcess } from './harness/processes.ts'
import { atMost } from './harness/report.ts'
import { startNatsServer, startPostgres } from './harness/servers.ts'
import { median, percentile } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * 10,000 schedules of as many datasets that are due in one minute: at whichever of its seconds, and all at its first. A run has fired when its host has the order in its hands: then the
 * run, its job and its point are durable, and NATS has carried the order there. Its host says at once that it has begun, and
 * that load is part of the figure; what agents do then is not: they have processors of their own. Slots are just enough.
 */

const HOSTS = 100
const SCHEDULES_OF_HOST = 100
const SCHEDULES = HOSTS * SCHEDULES_OF_HOST
const TARGET_S = 5
/** Over how many seconds their instants are spread. */
const SPREADS = [60, 1]
/** From the moment that a round's schedules are written: its first instant is a whole second after that. */
const AHEAD_MS = 4_000
const TIMEOUT_MS = 120_000
const POLL_MS = 200
/** What has begun ends in so long, as work does while more of it comes. */
const FINISH_MS = 10_000

const DATASETS = `insert into dataset (id, group_id, pool_id, kind, name, is_snapshot, readonly, state, root_inode, mountpoint)
  select gen_random_uuid(), g.id, p.id, 'filesystem', h.name || '-' || n, false, false, 'available', 256, '/pool/' || n
  from (select id from user_group order by id limit 1) g, host h join pool p on p.host_id = h.id, generate_series(1, $1::int) n`

/** As the first, which the API has made. */
const MULTIPLY = `insert into schedule (id, group_id, name, type, container, path, directory, at, recurrence, timezone, disabled, retention,
    features, code, ledger_at, next_due, fire_at, jitter_ms, zone_rules)
  select gen_random_uuid(), s.group_id, d.name, s.type, d.name, path, directory, at, recurrence, timezone, true, retention, features,
    code, ledger_at, null, null, jitter_ms, zone_rules
  from schedule s, dataset d
  where d.name ~ '^sim-[0-9]+-[0-9]+$'`

const PLAN = `update schedule s
  set at = jsonb_set(at::jsonb, '{start}', to_jsonb(second))::json, recurrence = jsonb_set(recurrence, '{startSeconds}', to_jsonb(second)),
    disabled = false, code = 'scheduled', ledger_at = due - interval '1 second', next_due = due, fire_at = due
  from (
    select id, to_timestamp($1::float8 / 1000) + interval '1 second' * (number % $2::int) as due,
      (($1::float8 / 1000)::bigint + number % $2::int) % 86400 as second
    from schedule
  ) planned
  where planned.id = s.id and s.name ~ '^sim-'`

const LINKED = `select job_id, 1000 * extract(epoch from due_at)::float8 as due_ms
  from schedule_run
  where due_at >= to_timestamp($1::float8 / 1000) and job_id is not null`

const UNFINISHED = `select count(*)::int as unfinished from schedule_run where state <> 'ended'`

/** Retention has had its time, and autovacuum its own. */
const A_DAY_LATER = ['update schedule_run set owes_prune = false where owes_prune', 'vacuum analyze']

interface Fired {
  /** Of each order, from the instant to its host: when it came for the first time. */
  readonly latenciesMs: readonly number[]
  /** Of processor time. */
  readonly cpuS: { readonly ours: number; readonly postgres: number; readonly nats: number }
}

interface Room {
  readonly workbench: Workbench
  readonly fleet: BenchProcess
  readonly client: pg.Client
  cpuS(): Fired['cpuS']
}

await runBench(async (workbench) => {
  const room = await open(workbench)
  const rows = []
  for (const spreadS of SPREADS) {
    const bench =
      spreadS === 1 ? 'firing: 10,000 schedules at one instant' : `firing: 10,000 schedules over ${spreadS} s`
    const all: Fired[] = []
    for (let round = 1; round <= workbench.rounds; round += 1) {
      const fired = await fire(room, spreadS)
      all.push(fired)
      workbench.say(`${bench}, ${round}: ${words([fired])}`)
    }
    const slowest = median(all.map(({ latenciesMs }) => Math.max(...latenciesMs))) / 1000
    rows.push({ bench, figure: words(all), peer: '', target: atMost(slowest, TARGET_S, ' s') })
  }
  return rows
})

async function open(workbench: Workbench): Promise<Room> {
  const postgres = await startPostgres(workbench)
  const nats = await startNatsServer(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const environment = { HOLDFAST_HOST_SLOTS: String(SCHEDULES_OF_HOST) }
  const controlPlane = await startControlPlane(workbench, { databaseUrl, natsUrl: nats.url, environment })
  const args = [JSON.stringify({ natsUrl: nats.url, hosts: HOSTS })]
  const fleet = workbench.startNode({ name: 'fleet', entry: 'bench/programs/firing-hosts.ts', args })
  await fleet.hear()
  await controlPlane.rooted()
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  workbench.defer(() => client.end())
  await client.query(DATASETS, [SCHEDULES_OF_HOST])
  const at = { repeat: 'daily', start: 0 }
  const dest = { target: 'local', path: '/bench' }
  const first = { job_name: 'bench', container_id: 'root', type: 'dataset', disable: true, dest, at }
  await controlPlane.post('/api/v1/backup/', first)
  await client.query(MULTIPLY)
  await client.query('analyze schedule, dataset, host, pool')
  return {
    workbench,
    fleet,
    client,
    cpuS: () => ({
      ours: controlPlane.process.cpuSeconds(),
      postgres: postgres.cpuSeconds(),
      nats: nats.process.cpuSeconds(),
    }),
  }
}

async function fire({ fleet, client, cpuS }: Room, spreadS: number): Promise<Fired> {
  const dueMs = Math.ceil((Date.now() + AHEAD_MS) / 1000) * 1000
  await client.query(PLAN, [dueMs, spreadS])
  await sleep(Math.max(0, dueMs - Date.now()))
  const before = cpuS()
  let finishAtMs = Date.now() + FINISH_MS
  await untilCount(SCHEDULES, async () => {
    if (Date.now() >= finishAtMs) {
      await fleet.ask({ asked: 'finish' })
      finishAtMs = Date.now() + FINISH_MS
    }
    return Number(await fleet.ask({ asked: 'count' }))
  })
  const after = cpuS()
  // as: firing-hosts.ts answers so
  const arrivals = (await fleet.ask({ asked: 'arrivals' })) as { readonly jobId: string; readonly atMs: number }[]
  const jobs = new Map(arrivals.toReversed().map(({ jobId, atMs }) => [jobId, atMs]))
  const { rows } = await client.query(LINKED, [dueMs])
  const dueOf = new Map(
    rows.map((row: { readonly job_id: string; readonly due_ms: number }) => [row.job_id, row.due_ms]),
  )
  if (jobs.size !== SCHEDULES || dueOf.size !== SCHEDULES) {
    throw new Error(`orders of ${jobs.size} jobs for ${dueOf.size} runs`)
  }
  await fleet.ask({ asked: 'finish' })
  await untilCount(0, async () => Number((await client.query(UNFINISHED)).rows[0]?.unfinished))
  await fleet.ask({ asked: 'forget' })
  for (const statement of A_DAY_LATER) await client.query(statement)
  return {
    latenciesMs: [...jobs].map(([jobId, atMs]) => atMs - (dueOf.get(jobId) ?? Number.NaN)),
    cpuS: {
      ours: after.ours - before.ours,
      postgres: after.postgres - before.postgres,
      nats: after.nats - before.nats,
    },
  }
}

async function untilCount(wanted: number, count: () => Promise<number>): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS
  for (let seen = await count(); seen !== wanted; seen = await count()) {
    if (performance.now() > deadline) throw new Error(`${seen} of ${wanted} after ${TIMEOUT_MS / 1000} s`)
    await sleep(POLL_MS)
  }
}

function words(all: readonly Fired[]): string {
  const latencies = all.flatMap(({ latenciesMs }) => latenciesMs)
  const [p50, p99, last] = [0.5, 0.99, 1].map((share) => (percentile(latencies, share) / 1000).toFixed(1))
  const [ours, postgres, nats] = (['ours', 'postgres', 'nats'] as const).map((name) =>
    (all.reduce((sum, { cpuS }) => sum + cpuS[name], 0) / all.length).toFixed(1),
  )
  return `p50 ${p50}, p99 ${p99}, last ${last} s; CPU ${ours}, Postgres ${postgres}, NATS ${nats} s`
}
