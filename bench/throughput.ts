import { startAgent, startControlPlane } from './harness/fleet.ts'
import { startFloor } from './harness/floor.ts'
import { perSecond, startLoad } from './harness/load.ts'
import { atLeast } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median } from './harness/statistics.ts'
import { runBench } from './harness/workbench.ts'

/** Snapshots of a `sim` dataset, whole round trips at 64 in flight, beside the floor's jobs at 64 in flight. */

const REQUESTS = 4_000
const IN_FLIGHT = 64
const TARGET = 2

await runBench(async (workbench) => {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const controlPlane = await startControlPlane(workbench, {
    databaseUrl: await postgres.createDatabase('ours'),
    natsUrl,
  })
  startAgent(workbench, { natsUrl, driver: 'sim', path: '/sim' })
  await controlPlane.rooted()
  const floor = await startFloor(workbench, { databaseUrl: await postgres.createDatabase('floor'), natsUrl })
  const load = await startLoad(workbench)

  const { port, token } = controlPlane
  const job = { port, token, path: '/api/v1/snapshots', body: '{"source":"root","name":"s%n"}', inFlight: IN_FLIGHT }
  const floorJob = { port: floor.port, path: '/', body: '{}', inFlight: IN_FLIGHT }
  await load.run({ ...job, requests: REQUESTS / 2 })
  await load.run({ ...floorJob, requests: REQUESTS / 2 })
  const ours: number[] = []
  const theirs: number[] = []
  for (let round = 1; round <= workbench.rounds; round += 1) {
    ours.push(perSecond(await load.run({ ...job, requests: REQUESTS })))
    theirs.push(perSecond(await load.run({ ...floorJob, requests: REQUESTS })))
    workbench.say(`throughput ${round}: ${ours.at(-1)?.toFixed(0)} jobs/s, floor ${theirs.at(-1)?.toFixed(0)}`)
  }
  const ratio = median(ours) / median(theirs)
  const rate = (value: number) => `${value.toFixed(0)} jobs/s at ${IN_FLIGHT}`
  return [
    {
      bench: 'throughput',
      figure: rate(median(ours)),
      peer: `floor ${rate(median(theirs))}`,
      ratio,
      target: atLeast(ratio, TARGET),
    },
  ]
})
