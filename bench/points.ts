import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { type BenchTree, benchTrees } from './harness/archive-trees.ts'
import { type ControlPlane, startAgent, startControlPlane } from './harness/fleet.ts'
import { mountFileSystem } from './harness/pool.ts'
import { atLeast, atMost, type Finding } from './harness/report.ts'
import { openRestic, type Restic } from './harness/restic.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median } from './harness/statistics.ts'
import { followJobs, type WholeJobs } from './harness/whole-jobs.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * Backups of 100,000 small files as a client waits for them: from `POST /points` to the feed's word that the job has succeeded, with a
 * real control plane and a real agent. Beside restic (Debian's package) on the same tree, in turns; repositories lie on the machine's own disk.
 * First, unchanged and 1 % changed on btrfs; unchanged where the file system cannot tell what changed: reflinks, copies, a directory.
 */
const UNCHANGED_IN_ROUND = 4
/** What is left to be done behind a job, as the destruction of the snapshot that it superseded, is done before the next. */
const PAUSE_MS = 2_000
const WHOLE_JOB_MS = 100
const ELSEWHERE_SHARE = 0.1
const CHANGED_TARGET = 8
const FIRST_TARGET = 2.5
const AGENT_MIB = 150

const DatasetAnswer = z.object({ mountpoint: z.string() })

/** A tree, what backs it up, and who else does. */
interface Contest {
  readonly title: string
  readonly source: object
  readonly tree: string
  readonly jobs: WholeJobs
  readonly restic: Restic | undefined
}

interface Took {
  readonly ours: number[]
  readonly restic: number[]
}

await runBench(async (workbench) => {
  const [small] = benchTrees(workbench.scale)
  if (small === undefined) throw new Error('no tree')
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const plane = await startControlPlane(workbench, { databaseUrl, natsUrl })
  const agentOn = (kind: 'btrfs' | 'xfs' | 'ext4', driver: 'btrfs' | 'reflink' | 'copy') => {
    const path = mountFileSystem(workbench, { kind, name: kind === 'btrfs' ? 'pool' : kind })
    const environment = { HOLDFAST_AGENT_SOURCE_PATHS: `${join(workbench.folder, 'live')}/` }
    return startAgent(workbench, { natsUrl, driver, path, name: driver, environment })
  }
  const agent = agentOn('btrfs', 'btrfs')
  await plane.rooted()
  const server = { url: `http://127.0.0.1:${plane.port}`, token: plane.token, defer: workbench.defer }
  const jobs = await followJobs(server)
  const inDataset = async (host: string, title: string): Promise<Contest> => {
    const tree = await datasetOn(plane, host)
    small.make(tree)
    return {
      title,
      source: { dataset: `on-${host}` },
      tree,
      jobs,
      restic: openRestic(workbench, tree, `restic-${host}`),
    }
  }

  const findings = await onBtrfs(workbench, await inDataset('btrfs', small.title), small)
  const peak = agent.peakMebibytes()
  findings.push({
    bench: 'points: agent',
    figure: `peak RSS ${peak.toFixed(0)} MiB`,
    peer: '',
    target: atMost(peak, AGENT_MIB, ' MiB'),
  })
  for (const [kind, driver, title] of [
    ['xfs', 'reflink', 'reflinks on XFS'],
    ['ext4', 'copy', 'copies on ext4'],
  ] as const) {
    agentOn(kind, driver)
    findings.push(await elsewhere(workbench, await inDataset(driver, title)))
  }
  const tree = join(workbench.folder, 'live', 'tree')
  mkdirSync(join(tree, '..'))
  small.make(tree)
  const restic = openRestic(workbench, tree, 'restic-live')
  const directory = { title: 'a directory on ext4', source: { host: 'btrfs', path: tree }, tree, jobs, restic }
  findings.push(await elsewhere(workbench, directory))
  return findings
})

async function datasetOn(plane: ControlPlane, host: string): Promise<string> {
  await plane.process.until(async () => {
    const answer = await plane.get(`/api/v1/hosts/${host}`)
    return answer.ok && z.object({ state: z.string() }).parse(await answer.json()).state === 'online'
  })
  const made = await plane.post('/api/v1/datasets', { name: `on-${host}`, host })
  return DatasetAnswer.parse(await made.json()).mountpoint
}

function newTook(): Took {
  return { ours: [], restic: [] }
}

/** Both, whose turn is first alternating; what they wrote is on disk before the next begins. */
async function takeTurns(workbench: Workbench, contest: Contest, turn: { to: Took; series: string; n: number }) {
  const { jobs, source, restic, title } = contest
  const ours = async () => {
    const job = await jobs.run('/api/v1/points', { source, path: turn.series, incremental: true })
    turn.to.ours.push(job.ms)
    const phases = [...(await jobs.phases(job.jobId))].map(([name, ms]) => `${name} ${ms.toFixed(0)}`)
    workbench.say(`${title}, ${turn.series}: ours ${job.ms.toFixed(0)} ms (${phases.join(', ')})`)
  }
  const theirs = async () => {
    if (restic === undefined) return
    turn.to.restic.push(restic.backup())
    workbench.say(`${title}, ${turn.series}: restic ${turn.to.restic.at(-1)?.toFixed(0)} ms`)
  }
  for (const act of turn.n % 2 === 0 ? [ours, theirs] : [theirs, ours]) {
    await act()
    await sleep(PAUSE_MS)
    execFileSync('/bin/sync')
  }
}

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

async function elsewhere(workbench: Workbench, contest: Contest): Promise<Finding> {
  const took = newTook()
  contest.restic?.begin()
  const series = 'elsewhere'
  await takeTurns(workbench, contest, { to: newTook(), series, n: 0 })
  for (let round = 1; round <= workbench.rounds; round += 1)
    await takeTurns(workbench, contest, { to: took, series, n: round })
  const told = { bench: `points: unchanged, ${contest.title}`, ...beside(took) }
  if (took.restic.length === 0) return told
  const share = median(took.ours) / median(took.restic)
  return { ...told, ratio: share, target: atMost(share, ELSEWHERE_SHARE, ' of its time') }
}

function beside({ ours, restic }: Took): { readonly figure: string; readonly peer: string } {
  const p50 = (all: readonly number[]) => `p50 ${median(all).toFixed(0)} ms of ${all.length}`
  return { figure: p50(ours), peer: restic.length === 0 ? 'restic SKIPPED' : `restic ${p50(restic)}` }
}

function judged({ ours, restic }: Took, bound: number): Pick<Finding, 'ratio' | 'target'> {
  if (restic.length === 0) return {}
  const ratio = median(restic) / median(ours)
  return { ratio, target: atLeast(ratio, bound, ' as fast') }
}
