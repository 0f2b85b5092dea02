import { execFileSync } from 'node:child_process'
import { benchTrees } from './harness/archive-trees.ts'
import { beside, datasetOn, judged, newTook, takeTurns } from './harness/contest.ts'
import { startAgent, startControlPlane } from './harness/fleet.ts'
import { mountFileSystem } from './harness/pool.ts'
import type { Finding } from './harness/report.ts'
import { openRestic } from './harness/restic.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { followJobs } from './harness/whole-jobs.ts'
import { runBench } from './harness/workbench.ts'

/** As `points`, of one file of 4 GiB on btrfs: all of it, and 1 % of it changed. */
const FIRST_TARGET = 2.5
const CHANGED_TARGET = 8
const IMAGE_BYTES = 48 * 2 ** 30

await runBench(async (workbench) => {
  const [, large] = benchTrees(workbench.scale)
  if (large === undefined) throw new Error('no tree')
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const plane = await startControlPlane(workbench, { databaseUrl: await postgres.createDatabase('ours'), natsUrl })
  const path = mountFileSystem(workbench, { kind: 'btrfs', name: 'pool', imageBytes: IMAGE_BYTES })
  startAgent(workbench, { natsUrl, driver: 'btrfs', path, name: 'btrfs' })
  await plane.rooted()
  const jobs = await followJobs({
    url: `http://127.0.0.1:${plane.port}`,
    token: plane.token,
    defer: workbench.defer,
  })
  const tree = await datasetOn(plane, 'btrfs')
  large.make(`${tree}/in`)
  const contest = { title: large.title, source: { dataset: 'on-btrfs' }, tree, jobs }
  const restic = openRestic(workbench, tree, 'restic-btrfs')
  const [first, changed] = [newTook(), newTook()]
  for (let round = 0; round < workbench.rounds; round += 1) {
    const turn = { series: `round-${round}`, n: round }
    restic?.begin()
    execFileSync('/bin/sync')
    await takeTurns(workbench, { ...contest, restic }, { ...turn, to: first })
    large.change(`${tree}/in`, round)
    execFileSync('/bin/sync')
    await takeTurns(workbench, { ...contest, restic }, { ...turn, to: changed })
  }
  const bench = (what: string) => `points: ${what}, ${contest.title}`
  const findings: Finding[] = [
    { bench: bench('first'), ...beside(first), ...judged(first, FIRST_TARGET) },
    { bench: bench('1 % changed'), ...beside(changed), ...judged(changed, CHANGED_TARGET) },
  ]
  return findings
})
