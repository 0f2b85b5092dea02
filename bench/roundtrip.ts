import { execFileSync } from 'node:child_process'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { type ControlPlane, startAgent, startControlPlane } from './harness/fleet.ts'
import { startFloor } from './harness/floor.ts'
import { type Load, type LoadOrder, startLoad } from './harness/load.ts'
import { mountPool } from './harness/pool.ts'
import { requireTool } from './harness/processes.ts'
import { atMost, type Finding } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median, percentile } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'
import { type BareOperation, perform } from './programs/bare-operation.ts'

/**
 * One restore of one file, and one snapshot, as a client waits for it: HTTP to a real control plane, a real agent on btrfs,
 * one request after the other. Beside it, in turn: the floor's round trip without any operation, the operation alone, and
 * the floor doing the operation. The promise: what is ours beyond the operation is at most two floors.
 */

const RESTORES = 200
/** Fewer: btrfs needs longer for each the more there are. */
const SNAPSHOTS = 60
const WARM_UP = 60
const FILE_BYTES = 64 * 1024
const FLOORS = 2
const P99_TARGET_MS = 11

const DatasetAnswer = z.object({ mountpoint: z.string() })

/** One kind of operation from all sides. */
interface Contest {
  readonly name: string
  /** In one round, of each side. */
  readonly requests: number
  readonly order: Omit<LoadOrder, 'requests' | 'inFlight'>
  /** The n-th bare operation. `%n` will do where somebody else counts. */
  bare(n: string): BareOperation
}

await runBench(async (workbench) => {
  const pool = mountPool(workbench)
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const controlPlane = await startControlPlane(workbench, {
    databaseUrl: await postgres.createDatabase('ours'),
    natsUrl,
  })
  startAgent(workbench, { natsUrl, driver: 'btrfs', path: pool })
  await controlPlane.rooted()
  const floor = await startFloor(workbench, { databaseUrl: await postgres.createDatabase('floor'), natsUrl })
  const load = await startLoad(workbench)
  await prepareOurs(controlPlane)
  const bare = join(pool, 'bare')
  execFileSync(requireTool('btrfs'), ['subvolume', 'create', bare], { stdio: 'ignore' })
  writeFile(join(bare, 'file'))

  const { port, token } = controlPlane
  const restore: Contest = {
    name: 'restore',
    requests: RESTORES,
    order: {
      port,
      token,
      path: '/api/v1/snapshots/restore',
      body: '{"snapshot":"base","source":"/file","destination":"/restored-%n"}',
    },
    bare: (n) => ({ kind: 'restore', source: join(bare, 'file'), target: join(bare, `restored-${n}`) }),
  }
  const snapshot: Contest = {
    name: 'snapshot',
    requests: SNAPSHOTS,
    order: { port, token, path: '/api/v1/snapshots', body: '{"source":"root","name":"s%n"}' },
    bare: (n) => ({ kind: 'snapshot', source: bare, folder: pool, target: `bare-${n}` }),
  }
  const sides = { load, floorPort: floor.port }
  return [...(await compete(workbench, restore, sides)), ...(await compete(workbench, snapshot, sides))]
})

async function prepareOurs(controlPlane: ControlPlane): Promise<void> {
  const { mountpoint } = DatasetAnswer.parse(await (await controlPlane.get('/api/v1/datasets/root')).json())
  writeFile(join(mountpoint, 'file'))
  await controlPlane.post('/api/v1/snapshots', { source: 'root', name: 'base' })
}

function writeFile(path: string): void {
  const file = openSync(path, 'wx')
  writeSync(file, Buffer.alloc(FILE_BYTES, 'x'))
  fsyncSync(file)
  closeSync(file)
}

async function compete(
  workbench: Workbench,
  contest: Contest,
  sides: { readonly load: Load; readonly floorPort: number },
): Promise<readonly Finding[]> {
  const { load, floorPort } = sides
  const floorOrder = { port: floorPort, path: '/', body: '{}' }
  const doing = { ...floorOrder, body: JSON.stringify({ operation: contest.bare('floor-%n') }) }
  const latencies = async (order: Omit<LoadOrder, 'requests' | 'inFlight'>, requests = contest.requests) =>
    (await load.run({ ...order, requests, inFlight: 1 })).latenciesMs
  await latencies(contest.order, WARM_UP)
  await latencies(floorOrder, WARM_UP)

  const all: number[] = []
  const p50 = { ours: [] as number[], floor: [] as number[], bare: [] as number[], doing: [] as number[] }
  for (let round = 1; round <= workbench.rounds; round += 1) {
    const ours = await latencies(contest.order)
    all.push(...ours)
    p50.ours.push(median(ours))
    p50.floor.push(median(await latencies(floorOrder)))
    p50.bare.push(median(timeBare(contest, round)))
    p50.doing.push(median(await latencies(doing)))
    const last = Object.entries(p50).map(([side, values]) => `${side} ${values.at(-1)?.toFixed(2)}`)
    workbench.say(`${contest.name} ${round}: p50 ms ${last.join(', ')}`)
  }
  const [ours, floor, bare] = [median(p50.ours), median(p50.floor), median(p50.bare)]
  const ratio = (ours - bare) / floor
  const p99 = percentile(all, 0.99)
  const ms = (value: number) => `${value.toFixed(2)} ms`
  return [
    {
      bench: `roundtrip: ${contest.name}`,
      figure: `p50 ${ms(ours)} (bare ${ms(bare)})`,
      peer: `floor ${ms(floor)}, doing it ${ms(median(p50.doing))}`,
      ratio,
      target: { ...atMost(ratio, FLOORS), words: `ours − bare ≤ ${FLOORS} floors` },
    },
    {
      bench: `roundtrip: ${contest.name}`,
      figure: `p99 ${ms(p99)}`,
      peer: '',
      target: { ...atMost(p99, P99_TARGET_MS, ' ms'), words: `≤ ${P99_TARGET_MS} ms when quiet` },
    },
  ]
}

function timeBare(contest: Contest, round: number): readonly number[] {
  return Array.from({ length: contest.requests }, (_, n) => {
    const operation = contest.bare(`${round}-${n}`)
    const startedAt = performance.now()
    perform(operation)
    return performance.now() - startedAt
  })
}
