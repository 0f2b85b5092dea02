import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import type { ControlPlane } from './fleet.ts'
import { atLeast, type Finding } from './report.ts'
import type { Restic } from './restic.ts'
import { median } from './statistics.ts'
import { warm } from './warm.ts'
import type { WholeJobs } from './whole-jobs.ts'
import type { Workbench } from './workbench.ts'

/** What is left to be done behind a job, as the destruction of the snapshot that it superseded, is done before the next. */
const PAUSE_MS = 2_000

const DatasetAnswer = z.object({ mountpoint: z.string() })

/** A tree, what backs it up, and who else does. */
export interface Contest {
  readonly title: string
  readonly source: object
  readonly tree: string
  readonly jobs: WholeJobs
  readonly restic: Restic | undefined
}

export interface Took {
  readonly ours: number[]
  readonly restic: number[]
}

export async function datasetOn(plane: ControlPlane, host: string): Promise<string> {
  await plane.process.until(async () => {
    const answer = await plane.get(`/api/v1/hosts/${host}`)
    return answer.ok && z.object({ state: z.string() }).parse(await answer.json()).state === 'online'
  })
  const made = await plane.post('/api/v1/datasets', { name: `on-${host}`, host })
  return DatasetAnswer.parse(await made.json()).mountpoint
}

export function newTook(): Took {
  return { ours: [], restic: [] }
}

/** Both, whose turn is first alternating; what they wrote is on disk, and the tree in memory, before the next begins. */
export async function takeTurns(workbench: Workbench, contest: Contest, turn: { to: Took; series: string; n: number }) {
  const { jobs, source, tree, restic, title } = contest
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
    warm(tree)
    await act()
    await sleep(PAUSE_MS)
    execFileSync('/bin/sync')
  }
}

export function beside({ ours, restic }: Took): { readonly figure: string; readonly peer: string } {
  const p50 = (all: readonly number[]) => `p50 ${median(all).toFixed(0)} ms of ${all.length}`
  return { figure: p50(ours), peer: restic.length === 0 ? 'restic SKIPPED' : `restic ${p50(restic)}` }
}

export function judged({ ours, restic }: Took, bound: number): Pick<Finding, 'ratio' | 'target'> {
  if (restic.length === 0) return {}
  const ratio = median(restic) / median(ours)
  return { ratio, target: atLeast(ratio, bound, ' as fast') }
}
