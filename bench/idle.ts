import { setTimeout as sleep } from 'node:timers/promises'
import { compileAgent } from '../deploy/compile-agent.ts'
import { startAgent, startControlPlane } from './harness/fleet.ts'
import { atMost } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median } from './harness/statistics.ts'
import { ROOT, runBench } from './harness/workbench.ts'

/** What an agent that has nothing to do takes of its host's memory, half a minute after it was welcomed. */

const SETTLE_MS = 30_000
const SAMPLE_MS = 1_000
const TARGET_MEBIBYTES = 75

await runBench(async (workbench) => {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const controlPlane = await startControlPlane(workbench, {
    databaseUrl: await postgres.createDatabase('ours'),
    natsUrl,
  })
  const options = { natsUrl, driver: 'sim', path: '/sim' } as const
  await compileAgent(ROOT, workbench.compileCache)
  const agent = startAgent(workbench, options)
  await controlPlane.rooted()
  const args = [JSON.stringify({ natsUrl })]
  const peer = workbench.startNode({ name: 'idle-peer', entry: 'bench/programs/idle-peer.ts', args })
  await peer.hear()
  await sleep(SETTLE_MS)
  const ours: number[] = []
  const theirs: number[] = []
  for (let sample = 1; sample <= workbench.rounds; sample += 1) {
    agent.check()
    ours.push(agent.rssMebibytes())
    theirs.push(peer.rssMebibytes())
    await sleep(SAMPLE_MS)
  }
  const rss = median(ours)
  return [
    {
      bench: 'idle',
      figure: `agent RSS ${rss.toFixed(0)} MiB`,
      peer: `node + nats + zod ${median(theirs).toFixed(0)} MiB`,
      ratio: rss / median(theirs),
      target: atMost(rss, TARGET_MEBIBYTES, ' MiB'),
    },
  ]
})
