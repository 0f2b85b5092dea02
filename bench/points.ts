import { execFileSync } from 'node:child_process'
import { type BenchTree, benchTrees } from './harness/archive-trees.ts'
import { beside, type Contest, datasetOn, judged, newTook, takeTurns } from './harness/contest.ts'
import { startFleetOn } from './harness/fleet-on-pools.ts'
import { atMost, type Finding } from './harness/report.ts'
import { openRestic } from './harness/restic.ts'
import { median } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * Backups of 100,000 small files as a client waits for them: from `POST /points` to the feed's word that the job has succeeded, with a
 * real control plane and a real agent. Beside restic (Debian's package) on the same tree, in turns; repositories lie on the machine's own disk.
 * First, unchanged and 1 % changed on btrfs; `points-elsewhere` is about where the file system cannot tell what changed.
 */
const UNCHANGED_IN_ROUND = 4
const WHOLE_JOB_MS = 100
const CHANGED_TARGET = 8
const FIRST_TARGET = 2.5
const AGENT_MIB = 150

await runBench(async (workbench) => {
  const [small] = benchTrees(workbench.scale)
  if (small === undefined) throw new Error('no tree')
  const { plane, agents, jobs } = await startFleetOn(workbench, [{ host: 'btrfs', kind: 'btrfs', driver: 'btrfs' }])
  const tree = await datasetOn(plane, 'btrfs')
  small.make(tree)
  const restic = openRestic(workbench, tree, 'restic-btrfs')
  const contest = { title: small.title, source: { dataset: 'on-btrfs' }, tree, jobs, restic }
  const findings = await onBtrfs(workbench, contest, small)
  const peak = Math.max(...agents.map((agent) => agent.peakMebibytes()))
  findings.push({
    bench: 'points: agent',
    figure: `peak RSS ${peak.toFixed(0)} MiB`,
    peer: '',
    target: atMost(peak, AGENT_MIB, ' MiB'),
  })
  return findings
})

/** A series and a repository of their own each round, so that chains stay as short as they do in use. */
async function onBtrfs(workbench: Workbench, contest: Contest, small: BenchTree): Promise<Finding[]> {
  const [first, unchanged, changed] = [newTook(), newTook(), newTook()]
  for (let round = 0; round <= workbench.rounds; round += 1) {
    const series = `round-${round}`
    contest.restic?.begin()
    execFileSync('/bin/sync')
    await takeTurns(workbench, contest, { to: round === 0 ? newTook() : first, series, n: round })
    for (let n = 0; n < UNCHANGED_IN_ROUND && round > 0; n += 1)
      await takeTurns(workbench, contest, { to: unchanged, series, n })
    small.change(contest.tree, round)
    execFileSync('/bin/sync')
    await takeTurns(workbench, contest, { to: round === 0 ? newTook() : changed, series, n: round })
  }
  const p50 = median(unchanged.ours)
  const bench = (what: string) => `points: ${what}, ${contest.title}`
  return [
    { bench: bench('first'), ...beside(first), ...judged(first, FIRST_TARGET) },
    { bench: bench('unchanged'), ...beside(unchanged), target: atMost(p50, WHOLE_JOB_MS, ' ms') },
    { bench: bench('1 % changed'), ...beside(changed), ...judged(changed, CHANGED_TARGET) },
  ]
}
