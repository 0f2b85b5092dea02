import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { z } from 'zod'
import { lacksLxc, openLxcRoom } from '../test/harness/lxc-room.ts'
import { datasetOn } from './harness/contest.ts'
import { startAgent, startControlPlane } from './harness/fleet.ts'
import { mountFileSystem } from './harness/pool.ts'
import { atMost } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median, percentile } from './harness/statistics.ts'
import { followPlane } from './harness/whole-jobs.ts'
import { runBench } from './harness/workbench.ts'
import { perform } from './programs/bare-operation.ts'

/**
 * How long a real container of LXC stands still for a backup with `hold: pause`, as its agent tells, beside a snapshot of the same
 * dataset by the bare ioctl while it runs. It writes a few small files a second all the time.
 */
const NAME = 'frozen'
const BACKUPS_IN_ROUND = 10
const BEYOND_MS = 50
const PAUSE_MS = 200

const HELD = `select made -> 'held' as held from point where id = $1`
const Held = z.object({ held: z.object({ kind: z.literal('pause'), ms: z.number(), intact: z.literal(true) }) })

await runBench(async (workbench) => {
  const lacks = lacksLxc()
  if (lacks !== undefined) return [{ bench: 'freeze', figure: `SKIPPED: ${lacks}`, peer: '' }]
  const room = openLxcRoom()
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const plane = await startControlPlane(workbench, { databaseUrl, natsUrl })
  const path = mountFileSystem(workbench, { kind: 'btrfs', name: 'pool' })
  workbench.defer(() => room.close())
  const environment = { HOLDFAST_AGENT_LXC_PATH: room.folder, HOLDFAST_AGENT_DOCKER_SOCKET: '' }
  startAgent(workbench, { natsUrl, driver: 'btrfs', path, name: 'btrfs', environment })
  await plane.rooted()
  const dataset = await datasetOn(plane, 'btrfs')
  const made = room.define(NAME)
  const rootfs = join(dataset, 'rootfs')
  execFileSync('/bin/mv', [made, rootfs])
  execFileSync('/bin/sed', ['-i', `s#${made}#${rootfs}#`, join(room.folder, NAME, 'config')])
  execFileSync('/usr/bin/lxc-start', ['-P', room.folder, '-n', NAME, '-d'])
  await plane.process.until(async () => (await (await plane.get('/api/v1/instances')).text()).includes(`"${NAME}"`))
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  workbench.defer(() => client.end())
  const jobs = await followPlane(workbench, plane)

  const held: number[] = []
  const bare: number[] = []
  for (let n = 0; n < workbench.rounds * BACKUPS_IN_ROUND; n += 1) {
    const source = { instance: NAME, type: 'lxc', hold: 'pause' }
    const { answer } = await jobs.run('/api/v1/points', { source, incremental: true })
    const { rows } = await client.query(HELD, [z.object({ id: z.string() }).parse(answer).id])
    held.push(Held.parse(rows[0]).held.ms)
    await sleep(PAUSE_MS)
    const startedAt = performance.now()
    perform({ kind: 'snapshot', source: dataset, folder: path, target: `bare-${n}` })
    bare.push(performance.now() - startedAt)
    workbench.say(`freeze ${n}: ${held.at(-1)?.toFixed(1)} ms, bare ${bare.at(-1)?.toFixed(1)} ms`)
    await sleep(PAUSE_MS)
  }
  const beyond = median(held) - median(bare)
  const words = (all: readonly number[]) =>
    `p50 ${median(all).toFixed(0)}, p99 ${percentile(all, 0.99).toFixed(0)} ms of ${all.length}`
  return [
    {
      bench: 'freeze: a container that writes',
      figure: words(held),
      peer: `bare snapshot ${words(bare)}`,
      target: { ...atMost(beyond, BEYOND_MS), words: `p50 ≤ ${BEYOND_MS} ms beyond the snapshot` },
    },
  ]
})
