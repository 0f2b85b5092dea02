import { type ControlPlane, startControlPlane, startInstantAgent } from './harness/fleet.ts'
import { type LoadResult, perSecond, startLoad } from './harness/load.ts'
import { atMost } from './harness/report.ts'
import { run, startNats, startPostgres } from './harness/servers.ts'
import { median } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * Whether a job costs the same with a million old ones in the table: two fleets side by side, alike but for their past,
 * take turns. An agent that does nothing stands in for the real one, so that nothing hides the control plane's cost.
 */

const OLD_JOBS = 1_000_000
/** Three a job would be as many as retention keeps (EVENT_MAX_COUNT is 5,000,000). */
const OLD_EVENTS = 1_000_000
/** Datasets that the old jobs left behind; the others were deleted long ago. */
const OLD_DATASETS = 20_000
const SEQUENTIAL = 200
const TOGETHER = 1_500
const IN_FLIGHT = 64
const WARM_UP = 500
const TARGET = 1.1

/** Ended jobs over the last 200 days, as the control plane would have left them. `root` and its host stand already. */
const PAST = [
  `insert into job (id, group_id, host_id, kind, request, spec, dataset_id, dataset_name, state, heard_delivery, heard_seq,
     heard_at, announced, phases, result, created_by, created_at, started_at, finished_at)
   select gen_random_uuid(), root.group_id, pool.host_id, 'snapshot.create',
     jsonb_build_object('name', 'old-' || n, 'source', 'root', 'readonly', false),
     jsonb_build_object('kind', 'snapshot.create', 'readonly', false,
       'source', jsonb_build_object('pool', pool.local_name, 'dataset', root.id),
       'target', jsonb_build_object('pool', pool.local_name, 'dataset', gen_random_uuid())),
     gen_random_uuid(), 'old-' || n, case when n % 50 = 0 then 'failed' else 'succeeded' end, 1, 2, made.at, true,
     '[{"name": "snapshot", "seconds": 0.002}]',
     '{"cow": true, "atomic": true, "rootInode": 256, "mountpoint": "/nowhere"}', 'token:admin', made.at, made.at, made.at
   from generate_series(1, ${OLD_JOBS}) as n
   cross join lateral (select now() - interval '200 days' * (1 - n / ${OLD_JOBS}.0) as at) as made
   cross join dataset root
   join pool on pool.id = root.pool_id
   where root.name = 'root'`,
  `insert into dataset (id, group_id, pool_id, kind, name, is_snapshot, readonly, origin_id, origin_ordinal, state, root_inode)
   select gen_random_uuid(), root.group_id, root.pool_id, 'filesystem', 'old-' || n, true, false, root.id, 0, 'available', 256
   from generate_series(1, ${OLD_DATASETS}) as n, dataset root
   where root.name = 'root'`,
  `insert into event (seq, type, job_id, group_id, body, at)
   select event_head.seq + n, 'job.succeeded', gen_random_uuid(), root.group_id,
     json_build_object('job_id', gen_random_uuid(), 'kind', 'snapshot.create', 'state', 'succeeded', 'host', 'instant',
       'dataset', 'old-' || n, 'attempt', 1),
     now() - interval '6 days' * (1 - n / ${OLD_EVENTS}.0)
   from generate_series(1, ${OLD_EVENTS}) as n, dataset root, event_head
   where root.name = 'root'`,
  `update event_head set seq = seq + ${OLD_EVENTS}`,
  'vacuum analyze',
  'checkpoint',
]

await runBench(async (workbench) => {
  const postgres = await startPostgres(workbench)
  const fresh = await openFleet(workbench, { name: 'fresh', databaseUrl: await postgres.createDatabase('fresh') })
  const oldUrl = await postgres.createDatabase('old')
  const old = await openFleet(workbench, { name: 'old', databaseUrl: oldUrl })
  workbench.say(`flat: making ${OLD_JOBS} old jobs`)
  await run(oldUrl, PAST)
  const load = await startLoad(workbench)
  const order = ({ port, token }: ControlPlane) => ({
    port,
    token,
    path: '/api/v1/snapshots',
    body: '{"source":"root","name":"s%n"}',
  })
  for (const fleet of [fresh, old]) await load.run({ ...order(fleet), requests: WARM_UP, inFlight: IN_FLIGHT })

  const p50 = { fresh: [] as number[], old: [] as number[] }
  const rate = { fresh: [] as number[], old: [] as number[] }
  for (let round = 1; round <= workbench.rounds; round += 1) {
    for (const [name, fleet] of [
      ['fresh', fresh],
      ['old', old],
    ] as const) {
      const alone: LoadResult = await load.run({ ...order(fleet), requests: SEQUENTIAL, inFlight: 1 })
      const together = await load.run({ ...order(fleet), requests: TOGETHER, inFlight: IN_FLIGHT })
      p50[name].push(median(alone.latenciesMs))
      rate[name].push(perSecond(together))
    }
    const told = (['fresh', 'old'] as const).map(
      (name) => `${name} ${p50[name].at(-1)?.toFixed(2)} ms, ${rate[name].at(-1)?.toFixed(0)} jobs/s`,
    )
    workbench.say(`flat ${round}: ${told.join('; ')}`)
  }
  const slower = median(p50.old) / median(p50.fresh)
  const fewer = median(rate.fresh) / median(rate.old)
  return [
    {
      bench: 'flat: one by one',
      figure: `p50 ${median(p50.old).toFixed(2)} ms after 1,000,000 jobs`,
      peer: `empty ${median(p50.fresh).toFixed(2)} ms`,
      ratio: slower,
      target: atMost(slower, TARGET),
    },
    {
      bench: `flat: ${IN_FLIGHT} in flight`,
      figure: `${median(rate.old).toFixed(0)} jobs/s after 1,000,000 jobs`,
      peer: `empty ${median(rate.fresh).toFixed(0)} jobs/s`,
      ratio: fewer,
      target: atMost(fewer, TARGET),
    },
  ]
})

/** A control plane with its own NATS, database and agent. */
async function openFleet(
  workbench: Workbench,
  fleet: { readonly name: string; readonly databaseUrl: string },
): Promise<ControlPlane> {
  const natsUrl = await startNats(workbench, `nats-${fleet.name}`)
  const servers = { databaseUrl: fleet.databaseUrl, natsUrl }
  const controlPlane = await startControlPlane(workbench, servers, `control-plane-${fleet.name}`)
  await startInstantAgent(workbench, natsUrl, `instant-${fleet.name}`)
  await controlPlane.rooted()
  return controlPlane
}
