import { execFileSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { MAX_CHAIN } from '../control-plane/core/point-chain.ts'
import { datasetOn } from './harness/contest.ts'
import { startFleetOn } from './harness/fleet-on-pools.ts'
import { MILLION, makeManyFiles } from './harness/many-files.ts'
import { atMost, type Finding } from './harness/report.ts'
import { runBench } from './harness/workbench.ts'

/**
 * The memory of a whole agent while a client has it back up, verify, rehearse and restore a million files, and merge a chain of them, one job behind the
 * other: what one leaves behind counts for the next.
 */
const IMAGE_BYTES = 32 * 2 ** 30
const TARGET_MIB = 150
const PointAnswer = z.object({ id: z.string() })

await runBench(async (workbench) => {
  const pool = { host: 'btrfs', kind: 'btrfs', driver: 'btrfs', imageBytes: IMAGE_BYTES } as const
  const { plane, agents, jobs } = await startFleetOn(workbench, [pool])
  const [agent] = agents
  if (agent === undefined) throw new Error('no agent')
  const tree = await datasetOn(plane, pool.host)
  makeManyFiles(tree, Math.round(MILLION * workbench.scale))
  execFileSync('/bin/sync')
  const findings: Finding[] = []
  const note = async (act: string, path: string, body: object) => {
    agent.forgetPeak()
    const { ms, answer } = await jobs.run(path, body)
    const peak = agent.peakMebibytes()
    const figure = `${peak.toFixed(0)} MiB; ${(ms / 1_000).toFixed(1)} s`
    workbench.say(`${act}: ${figure}`)
    findings.push({ bench: `points of a million: ${act}`, figure, peer: '', target: atMost(peak, TARGET_MIB, ' MiB') })
    return answer
  }
  const source = { dataset: `on-${pool.host}` }
  await note('first', '/api/v1/points', { source })
  const change = () => {
    appendFileSync(join(tree, 'directory-0', 'a file of the million, number 0'), 'more\n')
    execFileSync('/bin/sync')
    return { source, incremental: true }
  }
  const made = await note('increment', '/api/v1/points', change())
  const point = `/api/v1/points/${PointAnswer.parse(made).id}`
  await note('verification', `${point}/verify`, {})
  await note('rehearsal', `${point}/rehearse`, {})
  await note('restore', `${point}/restore`, { paths: [''], destination: { new_dataset: 'back' } })
  for (let points = 2; points < MAX_CHAIN; points += 1) await jobs.run('/api/v1/points', change())
  await note('merge', '/api/v1/points', change())
  await note('another first one', '/api/v1/points', { source })
  return findings
})
