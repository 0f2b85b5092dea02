import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type BenchTree, benchTrees } from './harness/archive-trees.ts'
import { beside, type Contest, datasetOn, judged, newTook, takeTurns } from './harness/contest.ts'
import { startFleetOn } from './harness/fleet-on-pools.ts'
import { atMost, type Finding } from './harness/report.ts'
import { openRestic } from './harness/restic.ts'
import { median } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * As `points`, where the file system cannot tell what changed and the tree is listed: a pool of reflinks, a pool of copies, a
 * directory. Unchanged, and 1 % changed, beside restic.
 */
const UNCHANGED_IN_ROUND = 3
const SHARE = 0.1
const CHANGED_TARGET = 8

await runBench(async (workbench) => {
  const [small] = benchTrees(workbench.scale)
  if (small === undefined) throw new Error('no tree')
  const pools = [
    { host: 'reflink', kind: 'xfs', driver: 'reflink' },
    { host: 'copy', kind: 'ext4', driver: 'copy' },
  ] as const
  const environment = { HOLDFAST_AGENT_SOURCE_PATHS: `${join(workbench.folder, 'live')}/` }
  const { plane, jobs } = await startFleetOn(workbench, pools, environment)
  const findings: Finding[] = []
  for (const [host, title] of [
    ['reflink', 'reflinks on XFS'],
    ['copy', 'copies on ext4'],
  ] as const) {
    const tree = await datasetOn(plane, host)
    small.make(tree)
    const restic = openRestic(workbench, tree, `restic-${host}`)
    findings.push(
      ...(await contested(workbench, { title, source: { dataset: `on-${host}` }, tree, jobs, restic }, small)),
    )
  }
  const tree = join(workbench.folder, 'live', 'tree')
  mkdirSync(join(tree, '..'))
  small.make(tree)
  const restic = openRestic(workbench, tree, 'restic-live')
  const directory = { title: 'a directory on ext4', source: { host: 'copy', path: tree }, tree, jobs, restic }
  findings.push(...(await contested(workbench, directory, small)))
  return findings
})

async function contested(workbench: Workbench, contest: Contest, small: BenchTree): Promise<Finding[]> {
  const [unchanged, changed] = [newTook(), newTook()]
  contest.restic?.begin()
  execFileSync('/bin/sync')
  const series = 'elsewhere'
  await takeTurns(workbench, contest, { to: newTook(), series, n: 0 })
  for (let round = 1; round <= workbench.rounds; round += 1) {
    for (let n = 0; n < UNCHANGED_IN_ROUND; n += 1)
      await takeTurns(workbench, contest, { to: unchanged, series, n: round + n })
    small.change(contest.tree, round)
    execFileSync('/bin/sync')
    await takeTurns(workbench, contest, { to: changed, series, n: round })
  }
  const bench = (what: string) => `points: ${what}, ${contest.title}`
  const share = median(unchanged.ours) / median(unchanged.restic)
  const judgedShare =
    unchanged.restic.length === 0 ? {} : { ratio: share, target: atMost(share, SHARE, ' of its time') }
  return [
    { bench: bench('unchanged'), ...beside(unchanged), ...judgedShare },
    { bench: bench('1 % changed'), ...beside(changed), ...judged(changed, CHANGED_TARGET) },
  ]
}
