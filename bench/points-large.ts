import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { type BenchTree, benchTrees } from './harness/archive-trees.ts'
import { beside, type Contest, datasetOn, judged, newTook, takeTurns } from './harness/contest.ts'
import { startFleetOn } from './harness/fleet-on-pools.ts'
import type { Finding } from './harness/report.ts'
import { openRestic } from './harness/restic.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/** As `points`, of one file of 4 GiB, on btrfs and in a pool of reflinks: all of it, and 1 % of it changed. */
const FIRST_TARGET = 2.5
const CHANGED_TARGET = 8
const IMAGE_BYTES = 48 * 2 ** 30

await runBench(async (workbench) => {
  const [, large] = benchTrees(workbench.scale)
  if (large === undefined) throw new Error('no tree')
  const { plane, jobs } = await startFleetOn(workbench, [
    { host: 'btrfs', kind: 'btrfs', driver: 'btrfs', imageBytes: IMAGE_BYTES },
    { host: 'xfs', kind: 'xfs', driver: 'reflink', imageBytes: IMAGE_BYTES },
  ])
  const findings: Finding[] = []
  for (const [host, where] of [
    ['btrfs', 'btrfs'],
    ['xfs', 'reflinks on XFS'],
  ] as const) {
    const tree = await datasetOn(plane, host)
    const restic = openRestic(workbench, tree, `restic-${host}`)
    const title = `${large.title}, ${where}`
    findings.push(
      ...(await contested(workbench, { title, source: { dataset: `on-${host}` }, tree, jobs, restic }, large)),
    )
    rmSync(join(tree, 'in'), { recursive: true })
    restic?.end()
  }
  return findings
})

async function contested(workbench: Workbench, contest: Contest, large: BenchTree): Promise<readonly Finding[]> {
  const { title, tree, restic } = contest
  large.make(`${tree}/in`)
  const [first, changed] = [newTook(), newTook()]
  for (let round = 0; round < workbench.rounds; round += 1) {
    const turn = { series: `round-${round}`, n: round }
    restic?.begin()
    execFileSync('/bin/sync')
    await takeTurns(workbench, contest, { ...turn, to: first })
    large.change(`${tree}/in`, round)
    execFileSync('/bin/sync')
    await takeTurns(workbench, contest, { ...turn, to: changed })
  }
  return [
    { bench: `points: first, ${title}`, ...beside(first), ...judged(first, FIRST_TARGET) },
    { bench: `points: 1 % changed, ${title}`, ...beside(changed), ...judged(changed, CHANGED_TARGET) },
  ]
}
